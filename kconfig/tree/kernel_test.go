// SPDX-License-Identifier: GPL-3.0-only

package tree

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// kernelTests are the directories with the kernel's own tests of its conf.
func kernelTests(t *testing.T, srctree string) []string {
	t.Helper()
	var directories []string
	for _, pattern := range []string{"*", "*/*"} {
		list, err := filepath.Glob(filepath.Join(srctree, "scripts/kconfig/tests", pattern, "Kconfig"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range list {
			directories = append(directories, filepath.Dir(path))
		}
	}
	if len(directories) == 0 {
		t.Fatalf("%s has no tests of conf", srctree)
	}
	return directories
}

// A step of a test in Python is a run of conf with the status that is expected, or
// a comparison of what it wrote with a file. See conftest.py there.
var step = regexp.MustCompile(`conf\.(?:_run_conf\('--)?(\w+config)(?:=\w+'|')?[(,]([^)]*)\)\s+(==|!=) \d|conf\.(\w+)_(contains|matches)\('([^']+)'\)`)

var (
	dotConfig  = regexp.MustCompile(`^(?:\s*dot_config=)?'(\w+)'|dot_config='(\w+)'`)
	confEnvVar = regexp.MustCompile(`'(KCONFIG_\w+)': '(\w+)'`)
)

// answers are the lines of a .config that say what is answered to the questions of
// conf in a test.
var answers = map[string]string{
	"no_write_if_dep_unmet":   "# CONFIG_A is not set\n",
	"choice_value_with_m_dep": "CONFIG_CHOICE0=y\n# CONFIG_CHOICE1 is not set\n",
}

// TestKernelTests runs the engine on the kernel's own tests of conf. It asks no
// questions, so that what conf writes when it does is not compared.
func TestKernelTests(t *testing.T) {
	for _, srctree := range trees(t) {
		t.Run(filepath.Base(srctree), func(t *testing.T) {
			d, err := model.DetectDialect(srctree)
			if err != nil {
				t.Fatal(err)
			}
			for _, directory := range kernelTests(t, srctree) {
				t.Run(filepath.Base(directory), func(t *testing.T) {
					driver, err := os.ReadFile(filepath.Join(directory, "__init__.py"))
					if err != nil {
						t.Fatal(err)
					}
					k := kernelTest{t: t, directory: directory, dialect: d}
					steps := step.FindAllStringSubmatch(string(driver), -1)
					for _, s := range steps {
						if s[1] != "" {
							k.run(s[1], s[2], s[3] == "==" && strings.HasSuffix(s[0], "0"))
						} else {
							k.check(s[4], s[5] == "matches", s[6])
						}
					}
					if k.checked == 0 {
						t.Skip("it is only about questions")
					}
				})
			}
		})
	}
}

type kernelTest struct {
	t         *testing.T
	directory string
	dialect   model.Dialect
	checked   int

	mode           string // of the last run
	err            error
	config         string
	stdout, stderr string
}

func (k *kernelTest) read(name string) []byte {
	k.t.Helper()
	data, err := os.ReadFile(filepath.Join(k.directory, name))
	if err != nil {
		k.t.Fatal(err)
	}
	return data
}

// run is one of conf, with the arguments of the function in Python.
func (k *kernelTest) run(mode, args string, succeeds bool) {
	k.t.Helper()
	var m *model.Model
	m, k.err = parseIn(k.t, k.t.TempDir(), k.directory, k.dialect)
	if (k.err == nil) != succeeds {
		k.t.Fatalf("%s: %v", mode, k.err)
	}
	k.mode, k.config, k.stdout, k.stderr = mode, "", "", ""
	if k.err != nil {
		return
	}
	if mode == "randconfig" {
		return
	}
	k.stdout, k.stderr = said(m, true), said(m, false)
	s := m.NewState()
	s.Getenv = func(name string) (string, bool) {
		for _, v := range confEnvVar.FindAllStringSubmatch(args, -1) {
			if v[1] == name {
				return v[2], true
			}
		}
		return "", false
	}
	if all, ok := allModes[mode]; ok {
		s.SetAll(all)
	} else {
		var config []byte
		if file := dotConfig.FindStringSubmatch(args); file != nil {
			config = k.read(file[1] + file[2])
		}
		if strings.Contains(args, ",") && !strings.Contains(args, "extra_env") {
			config = append(config, answers[filepath.Base(k.directory)]...)
		}
		s.Load(".config", config)
	}
	if mode == "savedefconfig" {
		k.config = string(s.Defconfig())
	} else {
		k.config = string(s.Config())
	}
	k.stderr += s.Warnings.String()
}

// check compares what the last run wrote with a file.
func (k *kernelTest) check(what string, whole bool, file string) {
	k.t.Helper()
	want := string(k.read(file))
	var got string
	switch {
	case what == "config" && k.mode == "randconfig":
		// Which of them is found doesn't matter, but that it stays.
		k.mode = "olddefconfig"
		m, err := parseIn(k.t, k.t.TempDir(), k.directory, k.dialect)
		if err != nil {
			k.t.Fatal(err)
		}
		s := m.NewState()
		s.Load(".config", []byte(want))
		got = string(s.Config())
		k.mode = "randconfig"
	case what == "config":
		got = k.config
	case what == "stderr" && k.err != nil:
		k.refused(want)
		return
	case what == "stderr":
		got = k.stderr
	case what == "stdout" && k.stdout != "":
		got = k.stdout
	default:
		return // questions
	}
	k.checked++
	if whole && got != want || !strings.Contains(got, want) {
		k.t.Errorf("%s: %s: %s", k.mode, file, difference(want, got))
	}
}

var (
	cycleName = regexp.MustCompile(`(?m)^(?:\S+:)?\tsymbol (\w+) `)
	place     = regexp.MustCompile(`[\w.]+:\d+`)
)

// refused compares what is wrong: the engine has words of its own for it.
func (k *kernelTest) refused(want string) {
	k.t.Helper()
	k.checked++
	var refused *syntax.Error
	var recursion *model.RecursionError
	switch {
	case errors.As(k.err, &recursion):
		k.cycles(want)
	case errors.As(k.err, &refused):
		// Of several mistakes conf reports all, and the engine the first.
		if mistakes := regexp.MustCompile(`(?m)^.* error: .*$`).FindAllString(want, -1); len(mistakes) > 1 {
			want = mistakes[0]
		}
		// The engine also says where the file was sourced for the first time.
		if got, want := place.FindAllString(k.err.Error(), -1), place.FindAllString(want, -1); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			k.t.Errorf("got %v, want the places %v", k.err, want)
		}
	default:
		k.t.Errorf("got %v, want %s", k.err, want)
	}
}

// cycles looks for each of the symbols that depend on themselves alone, as conf
// reports all of them, and the engine the first.
func (k *kernelTest) cycles(want string) {
	k.t.Helper()
	blocks := strings.Split(want, "recursive dependency detected!")[1:]
	for _, part := range strings.Split(string(k.read("Kconfig")), "\n# ")[1:] {
		_, text, _ := strings.Cut(part, "\n")
		_, err := parseIn(k.t, k.t.TempDir(), writeKconfig(k.t, text), k.dialect)
		var recursion *model.RecursionError
		if !errors.As(err, &recursion) {
			k.t.Errorf("%s: got %v", part, err)
			continue
		}
		var chain []string
		for _, s := range recursion.Chain {
			chain = append(chain, s.Name)
		}
		if !slices.ContainsFunc(blocks, func(block string) bool {
			var names []string
			for _, m := range cycleName.FindAllStringSubmatch(block, -1) {
				names = append(names, m[1])
			}
			slices.Sort(names)
			return slices.Equal(names, slices.Sorted(slices.Values(chain)))
		}) {
			k.t.Errorf("%s: %v isn't in %s", part, chain, want)
		}
	}
}
