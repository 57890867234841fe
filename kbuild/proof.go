// SPDX-License-Identifier: GPL-3.0-only

package kbuild

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A Missed is a case where the full make behind a short build had something to do.
type Missed struct {
	Time     time.Time `json:"time"`
	Kernel   string    `json:"kernel"`
	Changed  []string  `json:"changed"`  // source files that the short build was for
	Compiled []string  `json:"compiled"` // objects that it compiled
	Steps    []string  `json:"steps"`    // what the full make did
}

// Prove runs the make that a short build stood for, and returns what that did: nothing,
// where the short build was right.
func (t *Tree) Prove(ctx context.Context, o BuildOptions) (steps []string, r *Result, err error) {
	o.Log = "proof.log"
	r, err = t.build(ctx, o)
	if r == nil {
		return nil, nil, err
	}
	steps = slices.DeleteFunc(slices.Clone(r.Steps), always.MatchString)
	if err == nil && !r.NewImage && !r.NewModules && !slices.ContainsFunc(steps, makes.MatchString) {
		steps = nil // some kernels do more each time than others
	}
	return steps, r, err
}

// SaveMissed keeps a case for a bug report, and returns the path of the file.
func (t *Tree) SaveMissed(m Missed) (string, error) {
	state, err := t.StateDir()
	if err != nil {
		return "", err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", err
	}
	name := filepath.Join(state, "missed.json")
	return name, os.WriteFile(name, append(data, '\n'), 0o644)
}
