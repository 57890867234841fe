// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/metaspace/run-kernel/internal/atomicfile"
	"github.com/metaspace/run-kernel/internal/private"
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

	// Unmet are the optional requirements that a fix couldn't meet, or left alone.
	Unmet []kconfig.Result `json:"unmet,omitempty"`
	// Proofs say by the option why it isn't met, where the kernel doesn't know it.
	Proofs map[string]kconfig.Step `json:"proofs,omitempty"`
}

// The files of settlements in the state directory.
const (
	fixed   = "config-settled" // .config is as good as it gets
	checked = "config-checked" // what conf makes of .config
	// memory has what the user has switched off that is optional.
	memory = "config-memory"
	// agreed says that the engine made the same of a .config as the kernel's conf.
	agreed = "config-agreed"
)

// olddefconfig runs the kernel's own olddefconfig on the file at path. Where that
// was seen to come to the same bytes as the engine, with the same Kconfig files and
// in the same environment, the engine does it: make and conf take seconds, most of
// them for asking the compiler again. The build will run conf in any case.
func (k *Kernel) olddefconfig(ctx context.Context, path string, m *model.Model, read time.Time, environ string) error {
	if m == nil || environ == "" {
		return k.Tree.Configure(ctx, "olddefconfig", path)
	}
	config, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	ours, _, err := tree.Conf(m, tree.Request{Mode: tree.Olddefconfig, Name: ".config", Config: config})
	if err != nil {
		return err
	}
	if k.settled(agreed, environ) != nil {
		return os.WriteFile(path, ours, 0o600)
	}
	if err := k.Tree.Configure(ctx, "olddefconfig", path); err != nil {
		return err
	}
	if theirs, err := os.ReadFile(path); err == nil && bytes.Equal(ours, theirs) {
		k.settle(agreed, settlement{Key: environ}, m, read)
	}
	return nil
}

// declined lists the optional requirements that the user has switched off.
func (k *Kernel) declined(f *kconfig.File, requirements []kconfig.Requirement) []string {
	var m kconfig.Memory
	data, err := os.ReadFile(k.Tree.StatePath(memory))
	if err != nil || json.Unmarshal(data, &m) != nil {
		return nil
	}
	return m.Declines(f, requirements)
}

// remember keeps what a .config that has been fixed has of the requirements.
func (k *Kernel) remember(f *kconfig.File, requirements []kconfig.Requirement, declined []string) {
	if data, err := json.Marshal(kconfig.Remember(f, requirements, declined)); err == nil {
		// Without it, what is optional and off is switched on once more.
		_ = atomicfile.Write(k.Tree.StatePath(memory), data, 0o600)
	}
}

// settled returns what was found of a .config, and nil where that isn't known or
// no longer so.
func (k *Kernel) settled(name, key string) *settlement {
	data, err := private.ReadFile(k.Tree.StatePath(name))
	known := &settlement{}
	if err != nil || json.Unmarshal(data, known) != nil || known.Key != key {
		return nil
	}
	if stamp, _ := k.stamp(known.Files); stamp != known.Stamp {
		return nil
	}
	return known
}

// settle keeps what was found of a .config with a model, which may be nil, and whose
// files have been read since a time; but only where there is a state directory, and no
// file was saved since: the model may not have that.
func (k *Kernel) settle(name string, known settlement, m *model.Model, read time.Time) {
	if m != nil {
		known.Files = m.Tree.Files
	}
	stamp, saved := k.stamp(known.Files)
	if saved.After(read) {
		return
	}
	known.Stamp = stamp
	if data, err := json.Marshal(known); err == nil {
		// Losing it costs a second, no more.
		_ = atomicfile.Write(k.Tree.StatePath(name), data, 0o600)
	}
}

// checkedSettlement is what is kept of a check.
func checkedSettlement(key string, results []kconfig.Result) settlement {
	known := settlement{Key: key, Proofs: make(map[string]kconfig.Step)}
	for _, r := range results {
		known.Values = append(known.Values, r.Have)
		if r.Proof != nil {
			known.Proofs[r.Symbol] = *r.Proof
		}
	}
	return known
}

// stamp changes when one of the files does. saved is when one was saved last.
func (k *Kernel) stamp(files []string) (stamp string, saved time.Time) {
	h := sha256.New()
	for _, name := range files {
		if !filepath.IsAbs(name) {
			name = filepath.Join(k.Tree.Source, name)
		}
		if st, err := os.Stat(name); err == nil {
			fmt.Fprintln(h, name, st.Size(), st.ModTime().UnixNano())
			if st.ModTime().After(saved) {
				saved = st.ModTime()
			}
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)), saved
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
func (k *Kernel) environ(ctx context.Context) string {
	o := k.treeOptions()
	o.Environ, k.opened = nil, nil
	opened, err := tree.Open(ctx, o)
	if err != nil {
		return ""
	}
	environ, err := opened.Fingerprint()
	if err != nil {
		return ""
	}
	k.opened = opened // for Model
	return environ
}
