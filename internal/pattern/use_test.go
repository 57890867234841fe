// SPDX-License-Identifier: GPL-3.0-only

package pattern_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// No package of the program compiles a regular expression when it starts.
func TestNoneAtStart(t *testing.T) {
	files := 0
	for _, dir := range []string{"boot", "cmd", "internal", "kbuild", "kconfig", "watch"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			for _, d := range f.Decls {
				if _, function := d.(*ast.FuncDecl); function {
					continue
				}
				ast.Inspect(d, func(n ast.Node) bool {
					if _, function := n.(*ast.FuncLit); function {
						return false
					}
					call, ok := n.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					if p, ok := call.X.(*ast.Ident); ok && p.Name == "regexp" && strings.Contains(call.Sel.Name, "Compile") {
						t.Errorf("%s: regexp.%s: pattern.New compiles when it is first used", set.Position(call.Pos()), call.Sel.Name)
					}
					return true
				})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Errorf("%d files only", files)
	}
}
