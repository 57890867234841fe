// SPDX-License-Identifier: GPL-3.0-only

package ktap

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// driver has a tree's kunit_parser.py judge files, and writes what it says as JSON. It
// counts a test that never came among its group's tests; we only count it.
const driver = `
import json, os, sys
answer, sys.stdout = sys.stdout, open(os.devnull, 'w') # for what the parser prints
sys.path.insert(0, sys.argv[1])
import kunit_parser

def tree(test):
    c = test.counts
    return {
        'Name': test.name, 'Status': test.status.name,
        'Counts': [c.passed, c.failed, c.crashed, c.skipped, c.errors],
        'Tests': [tree(t) for t in test.subtests if t.name or t.subtests or t.status.name != 'TEST_CRASHED'],
    }

out = {}
for path in sys.argv[2:]:
    with open(path) as f:
        out[path] = tree(kunit_parser.parse_run_tests(f.readlines()))
json.dump(out, answer)
`

// A judged is a test as the driver writes it.
type judged struct {
	Name, Status string
	Counts       [5]int
	Tests        []judged
}

var pythonNames = map[Status]string{
	Passed: "SUCCESS", Failed: "FAILURE", Skipped: "SKIPPED", Crashed: "TEST_CRASHED", NoTests: "NO_TESTS", NoKTAP: "FAILURE_TO_PARSE_TESTS",
}

func ours(t *Test, name string) judged {
	c := t.Counts
	j := judged{name, pythonNames[t.Status], [5]int{c.Passed, c.Failed, c.Crashed, c.Skipped, c.Errors}, []judged{}}
	for _, sub := range t.Tests {
		j.Tests = append(j.Tests, ours(sub, sub.Name))
	}
	return j
}

// Each tree's own parser judges its own test data.
func TestKernelsParser(t *testing.T) {
	var trees []string
	for _, variable := range []string{"RUN_KERNEL_TEST_TREE", "RUN_KERNEL_TEST_TREE2"} {
		if tree := os.Getenv(variable); tree != "" {
			trees = append(trees, tree)
		}
	}
	if len(trees) == 0 {
		t.Skip("RUN_KERNEL_TEST_TREE names no kernel tree")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	for _, tree := range trees {
		t.Run(filepath.Base(tree), func(t *testing.T) {
			dir := filepath.Join(tree, "tools/testing/kunit")
			files, err := filepath.Glob(filepath.Join(dir, "test_data/*.log"))
			if err != nil || len(files) < 20 {
				t.Fatalf("%d files of test data, %v", len(files), err)
			}
			var want map[string]judged
			cmd := exec.Command(python, append([]string{"-B", "-c", driver, dir}, files...)...)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(out, &want); err != nil {
				t.Fatal(err)
			}
			for _, path := range files {
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				test, err := Parse(f, Options{})
				f.Close()
				if err != nil {
					t.Fatal(err)
				}
				name := "main"
				if test.Status == NoKTAP {
					name = "<missing>"
				}
				if diff := cmp.Diff(want[path], ours(test, name)); diff != "" {
					t.Errorf("%s (-kernel's +ours):\n%s", filepath.Base(path), diff)
				}
			}
		})
	}
}
