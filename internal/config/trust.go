// SPDX-License-Identifier: GPL-3.0-only

package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/metaspace/run-kernel/internal/trust"
)

// trustKey is the key of the user's own file with the trusted directories.
const trustKey = "trust"

// FindTrust returns what the user trusts, according to the environment and the
// user's own configuration file. It is asked before any tree is looked for. A file
// of somebody else's is a *trust.ForeignError.
func FindTrust(environ []string) (trust.Policy, error) {
	p := trust.Policy{Sudo: trust.Sudo(Getenv(environ, "SUDO_UID")), ConfigFile: userFile(environ)}
	dirs, err := trustedDirs("$"+trust.Variable, filepath.SplitList(Getenv(environ, trust.Variable)))
	if err != nil {
		return p, err
	}
	p.Dirs = dirs
	if p.ConfigFile == "" {
		return p, nil
	}
	data, err := os.ReadFile(p.ConfigFile)
	switch {
	case absent(err) || errors.Is(err, os.ErrPermission): // after su, $HOME may be another's
		return p, nil
	case err != nil:
		return p, fmt.Errorf("configuration: %w", err)
	}
	if err := p.Check("configuration", p.ConfigFile); err != nil {
		return p, err
	}
	var own struct {
		Trust []string `toml:"trust"`
	}
	if err := toml.Unmarshal(data, &own); err != nil {
		return p, fileError(p.ConfigFile, data, err)
	}
	dirs, err = trustedDirs(p.ConfigFile+": "+trustKey, own.Trust)
	p.Dirs = append(p.Dirs, dirs...)
	return p, err
}

// trustedDirs cleans the directories that the user names.
func trustedDirs(where string, list []string) ([]string, error) {
	var dirs []string
	for _, dir := range list {
		if dir = strings.TrimSpace(dir); dir == "" {
			continue
		}
		if !filepath.IsAbs(dir) {
			return nil, &ValueError{Where: where, Problem: fmt.Sprintf("%q isn't an absolute path", dir), hint: "it is a list of directories, which are trusted with all that is in them"}
		}
		dirs = append(dirs, filepath.Clean(dir))
	}
	return dirs, nil
}
