// SPDX-License-Identifier: GPL-3.0-only

// Package modeltest makes models of short Kconfig files, for tests of what works on models.
package modeltest

import (
	"testing"

	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/syntax"
)

// New is the model of a Kconfig file, as newer kernels read it.
func New(t *testing.T, text string) *model.Model {
	t.Helper()
	return NewProbed(t, text, nil, nil)
}

// NewProbed is New with a host that answers: by environ what the file asks the environment
// for, and by shell what it has a shell do.
func NewProbed(t *testing.T, text string, environ map[string]string, shell func(string) (syntax.Output, error)) *model.Model {
	t.Helper()
	d := model.Dialect{Buckets: 1 << 14, Priority: true, Zero: true, Stripped: true, MenuOrder: true, Folds: true}
	tree, err := syntax.Parse(syntax.Options{
		Dialect:  d.Dialect,
		ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
		Getenv:   func(name string) (string, bool) { value, ok := environ[name]; return value, ok },
		Shell:    shell,
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(tree, d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
