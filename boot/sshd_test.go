// SPDX-License-Identifier: GPL-3.0-only

package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/metaspace/run-kernel/boot/boottest"
)

func startForwarded(t *testing.T) (*VM, int) {
	t.Helper()
	vm, err := Start(t.Context(), newLab(t, "answers").options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vm.Stop() })
	port, err := vm.ForwardSSH()
	if err != nil {
		t.Fatal(err)
	}
	return vm, port
}

// A port that somebody has is passed by.
func TestForwardSSH(t *testing.T) {
	vm, first := startForwarded(t)
	second, err := vm.ForwardSSH()
	if err != nil || first < FirstSSHPort || second <= first {
		t.Errorf("ports %d and %d, %v", first, second, err)
	}
	if err := vm.Stop(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", first))
	if err != nil {
		t.Fatalf("the port outlives the VM: %v", err)
	}
	_ = l.Close()
	if _, err := vm.ForwardSSH(); err == nil {
		t.Error("a VM that is gone forwards a port")
	}
}

func TestAwaitSSHD(t *testing.T) {
	t.Setenv(boottest.SSHDVariable, "yes")
	vm, port := startForwarded(t)
	if vm.HasSSHD(t.Context(), port) {
		t.Error("a connection that ends at once is an sshd")
	}
	if err := vm.AwaitSSHD(t.Context(), port, 0); err != nil {
		t.Error(err)
	}
	if !vm.HasSSHD(t.Context(), port) {
		t.Error("the sshd that answered doesn't")
	}
}

func TestAwaitSSHDInVain(t *testing.T) {
	vm, port := startForwarded(t)
	none := (*NoSSHDError)(nil)
	if err := vm.AwaitSSHD(t.Context(), port, 300*time.Millisecond); !errors.As(err, &none) || none.Port != port {
		t.Errorf("got %v", err)
	}
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	if err := vm.AwaitSSHD(ctx, port, 0); !errors.Is(err, over) {
		t.Errorf("got %v", err)
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = vm.Stop() })
	if err := vm.AwaitSSHD(t.Context(), port, 0); !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
}
