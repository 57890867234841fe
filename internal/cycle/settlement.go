// SPDX-License-Identifier: GPL-3.0-only

package cycle

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/metaspace/run-kernel/kconfig"
	"github.com/metaspace/run-kernel/kconfig/model"
	"github.com/metaspace/run-kernel/kconfig/tree"
)

// A settlement is what was found of a .config. It's kept for as long as nothing
// that it depends on changes: finding it again would cost a while at each pass.
type settlement struct {
	Key    string   `json:"key"`              // of .config, the requirements, and the environment
	Stamp  string   `json:"stamp"`            // of the files
	Files  []string `json:"files"`            // those with the Kconfig language, in the source tree
	Values []string `json:"values,omitempty"` // those of the required options
}

// The files of settlements in the state folder.
const (
	fixed   = "config-settled" // .config is as good as it gets
	checked = "config-checked" // what conf makes of .config
)

// settled returns what was found of a .config, and nil where that isn't known or
// no longer so.
func (c *Cycle) settled(name, key string) *settlement {
	data, err := os.ReadFile(c.Tree.StatePath(name))
	known := &settlement{}
	if err != nil || json.Unmarshal(data, known) != nil || known.Key != key || known.Stamp != c.stamp(known.Files) {
		return nil
	}
	return known
}

// settle keeps what was found of a .config with a model, which may be nil; but
// only where there is a state folder.
func (c *Cycle) settle(name, key string, m *model.Model, results []kconfig.Result) {
	known := settlement{Key: key}
	if m != nil {
		known.Files = m.Tree.Files
	}
	known.Stamp = c.stamp(known.Files)
	for _, r := range results {
		known.Values = append(known.Values, r.Have)
	}
	if data, err := json.Marshal(known); err == nil {
		// Losing it costs a second, no more.
		_ = os.WriteFile(c.Tree.StatePath(name), data, 0o644)
	}
}

// stamp changes when one of the files does.
func (c *Cycle) stamp(files []string) string {
	h := sha256.New()
	for _, name := range files {
		if !filepath.IsAbs(name) {
			name = filepath.Join(c.Tree.Source, name)
		}
		if st, err := os.Stat(name); err == nil {
			fmt.Fprintln(h, name, st.Size(), st.ModTime().UnixNano())
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// settledKey identifies a .config, the requirements, and the environment.
func settledKey(config []byte, requirements []kconfig.Requirement, environ string) string {
	h := sha256.New()
	h.Write(config)
	fmt.Fprintf(h, "\x00%+v\x00%s", requirements, environ)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// environ identifies the environment that conf would run in. It's empty where
// only make knows that: asking would take longer than what it is for.
func (c *Cycle) environ(ctx context.Context) string {
	o := c.treeOptions()
	o.Environ = nil
	environ, err := tree.Fingerprint(ctx, o)
	if err != nil {
		return ""
	}
	return environ
}
