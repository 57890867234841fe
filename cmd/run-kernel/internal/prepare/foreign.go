// SPDX-License-Identifier: GPL-3.0-only

package prepare

import (
	"context"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/internal/config"
	"github.com/metaspace/run-kernel/internal/event"
)

// Foreign is a kernel from elsewhere: an image, and no source tree.
type Foreign struct {
	Config *config.Config
	Events event.Sink
}

// BootOptions are those of a guest on image. Where it runs on NixOS, nix builds that
// first, if it has changed. dir is the working directory.
func (f *Foreign) BootOptions(ctx context.Context, image, dir string) (boot.Options, error) {
	u, err := NewUserland(f.Config, dir)
	if err != nil {
		return boot.Options{}, err
	}
	o, err := Boot{Config: f.Config, Userland: u, Image: image, Dir: dir, Events: f.Events}.Options()
	if err != nil {
		return o, err
	}
	if u.Why != "" {
		f.Events.Emit(event.Notice{Text: u.Why})
	}
	o.System, err = u.System(ctx, "", f.Events)
	return o, err
}
