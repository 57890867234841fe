// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/metaspace/run-kernel/cmd/run-kernel/internal/userland"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
)

// A Userland is what a guest runs on.
type Userland struct {
	Kind  string         // userland.Nix, userland.Host, or the path of a directory
	Flake userland.Flake // of Nix
	Why   string         // why Kind isn't what one might expect; empty: it is
}

// NewUserland decides what the configuration means on this host. dir is where the
// flake is looked for that nobody has named.
func NewUserland(c *config.Config, dir string) (Userland, error) {
	u := Userland{Kind: c.Run.Userland}
	if u.Kind != userland.Auto && u.Kind != userland.Nix {
		return u, nil
	}
	var err error
	if u.Flake, err = userland.ParseFlake(c.Run.Flake, dir); err != nil {
		return u, err
	}
	if named := c.Run.Flake != config.DefaultFlake; !u.Flake.Exists() && (named || u.Kind == userland.Nix) {
		return u, &userland.NoFlakeError{Dir: u.Flake.Dir}
	}
	if u.Kind == userland.Auto {
		u.Kind, u.Why = userland.Choose(u.Flake)
	}
	return u, nil
}

// Builder builds the system, and keeps it in the directory state.
func (u *Userland) Builder(state string, events event.Sink) (*userland.Builder, error) {
	if state == "" {
		// Outside of a tree there is no other place that could be found again.
		cache, err := os.UserCacheDir()
		if err == nil {
			sum := sha256.Sum256([]byte(u.Flake.String()))
			state = filepath.Join(cache, "run-kernel", fmt.Sprintf("flake-%x", sum[:8]))
			err = os.MkdirAll(state, 0o755)
		}
		if err != nil {
			return nil, &noCacheError{err}
		}
	}
	return &userland.Builder{StateDir: state, Events: events}, nil
}

// A noCacheError says that there is no place for what nix builds.
type noCacheError struct{ error }

func (e *noCacheError) Error() string {
	return "where to keep the system that nix builds: " + e.error.Error()
}
func (e *noCacheError) Unwrap() error { return e.error }

// Hint names the places.
func (e *noCacheError) Hint() string {
	return "it is in $XDG_CACHE_HOME, or else in ~/.cache; --userland host does without"
}

// System has nix build the system, where the guest runs on one, and returns its
// toplevel.
func (u *Userland) System(ctx context.Context, state string, events event.Sink) (string, error) {
	if u.Kind != userland.Nix {
		return "", nil
	}
	b, err := u.Builder(state, events)
	if err != nil {
		return "", err
	}
	return b.Build(ctx, u.Flake)
}

// groups are the requirements of the userland.
func (u *Userland) groups() []string {
	if u.Kind == userland.Nix {
		return []string{"systemd", "nixos"}
	}
	return []string{"host-userland"}
}
