// SPDX-License-Identifier: GPL-3.0-only

package solver_test

import (
	"fmt"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/solver"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// What it takes to have an option, and why another one can't be had. For a
// kernel's source, package tree makes the model.
func ExampleSolve() {
	const text = `
config BUS
	bool "a bus"

config DRIVER
	bool "a driver"
	depends on BUS

config ELSEWHERE
	bool "for another machine"
	depends on OTHER_ARCH
`
	parsed, err := syntax.Parse(syntax.Options{
		ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
		Getenv:   func(string) (string, bool) { return "", false },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := model.New(parsed, model.Dialect{Buckets: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	config, err := kconfig.Parse(".config", []byte("# CONFIG_BUS is not set\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	var wanted []kconfig.Requirement
	for _, text := range []string{"DRIVER=y", "ELSEWHERE=y"} {
		r, err := kconfig.ParseRequire(text)
		if err != nil {
			fmt.Println(err)
			return
		}
		wanted = append(wanted, r)
	}
	solution, err := solver.Solve(m, config, wanted)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range solution.Settings {
		fmt.Printf("%s=%s for %q\n", s.Symbol, s.Value, s.For)
	}
	for _, r := range solution.Refused {
		fmt.Println(r.Proof)
	}
	// Output:
	// BUS=y for "DRIVER"
	// DRIVER=y for ""
	// Kconfig:11: ELSEWHERE=y: depends on OTHER_ARCH=y
	// 	OTHER_ARCH=y: no Kconfig file that belongs to this architecture defines it
}
