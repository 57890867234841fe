// SPDX-License-Identifier: GPL-3.0-only

package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metaspace/run-kernel/boot"
	"github.com/metaspace/run-kernel/boot/report"
	"github.com/metaspace/run-kernel/internal/event"
)

// decodeTime is how long it may take to find the lines of functions. Without debug
// information, objects are compiled for that.
const decodeTime = 20 * time.Second

// showEvidence shows what the guest was doing that an error gave up.
func (s *Session) showEvidence(ctx context.Context, image string, err error) {
	var timeout *boot.TimeoutError
	if !errors.As(err, &timeout) || timeout.Evidence == nil || len(timeout.Evidence.CPUs) == 0 {
		return
	}
	e := timeout.Evidence
	stacks := make([]report.Stack, len(e.CPUs))
	for i, c := range e.CPUs {
		if c.State == boot.Idle {
			continue // where is of no interest
		}
		for n, at := range c.Frames {
			stacks[i].Frames = append(stacks[i].Frames, report.Frame{Function: at.Function, Offset: at.Offset, Size: at.Size, Register: n == 0})
		}
	}
	if decoder := s.newDecoder(image); decoder != nil {
		defer decoder.Close()
		ctx, cancel := context.WithTimeout(ctx, decodeTime)
		defer cancel()
		_ = decoder.Decode(ctx, &report.Report{Stacks: stacks}) // functions without lines are something, too
	}
	looked := event.GuestLooked{Tasks: e.Tasks, Log: e.Log}
	for i, c := range e.CPUs {
		looked.Processors = append(looked.Processors, event.CPU{
			Index: c.Index, PC: fmt.Sprintf("%016x", c.PC), State: string(c.State), Frames: kernelFrames(stacks[i].Frames),
		})
	}
	s.Events.Emit(looked)
}
