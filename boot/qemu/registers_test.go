// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRegisters(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []CPU
	}{
		"x86_64": {
			"\r\nCPU#0\r\nRAX=0000000000000000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000\r\n" +
				"RSI=0000000000000000 RDI=0000000000000000 RBP=ffffc90000013e68 RSP=ffffc90000013e58\r\n" +
				"RIP=ffffffff81a5d2a8 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\nES =0000 0000000000000000 ffffffff 00c00100\r\n" +
				"\r\nCPU#1\r\nRSI=0000000000000000 RSP=00007ffd00000000\r\nRIP=0000000000401000 RFL=00000202 [-------] CPL=3 II=0 A20=1 SMM=0 HLT=0\r\n" +
				"\r\nCPU#2\r\nRSI=0000000000000000 RSP=0000000000000000\r\nRIP=000000000000fff0 RFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n",
			[]CPU{
				{Index: 0, PC: 0xffffffff81a5d2a8, SP: 0xffffc90000013e58, Idle: true},
				{Index: 1, PC: 0x401000, SP: 0x7ffd00000000, User: true},
				{Index: 2, PC: 0xfff0, Idle: true, Off: true},
			},
		},
		"aarch64": {
			"\r\nCPU#0\r\n PC=ffff800008a5d2a8 X00=00000000000000e0 X01=0000000000000001\r\nX02=0000000000000000\r\nX30=ffff800008a5d2a4 SP=ffff80000a1d3e20\r\n" +
				"PSTATE=600000c5 -ZC- EL1h    FPCR=00000000 FPSR=00000000\r\n" +
				"\r\nCPU#1\r\n PC=0000aaaac3d2a8f0 X00=0000000000000000\r\nX30=0000000000000000 SP=0000ffffe1d3e200\r\nPSTATE=60000000 -ZC- EL0t\r\n",
			[]CPU{
				{Index: 0, PC: 0xffff800008a5d2a8, SP: 0xffff80000a1d3e20},
				{Index: 1, PC: 0xaaaac3d2a8f0, SP: 0xffffe1d3e200, User: true},
			},
		},
		"riscv64": {
			"\r\nCPU#0\r\n V      =   0\r\n pc       ffffffff80a4f3c6\r\n mhartid  0000000000000000\r\n mstatus  0000000a000000a0\r\n" +
				" x0/zero  0000000000000000 x1/ra    ffffffff80a4f3c4 x2/sp    ff2000000067be40 x3/gp    ffffffff8188b0f8\r\n",
			[]CPU{{Index: 0, PC: 0xffffffff80a4f3c6, SP: 0xff2000000067be40}},
		},
		"nothing": {"unknown command: 'info registers -a'\r\n", nil},
	} {
		if diff := cmp.Diff(test.want, parseRegisters(test.text)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestWords(t *testing.T) {
	q, m := connect(t)
	go func() {
		m.negotiate()
		r := m.hear()
		if r.Arguments["command-line"] != "x /3xg 0xffffc90000013e58" || r.Arguments["cpu-index"] != 1.0 {
			t.Errorf("asked %v", r.Arguments)
		}
		reply, _ := json.Marshal("ffffc90000013e58: 0xffffffff81000030 0x0000000000000000\r\nffffc90000013e68: 0xffffffff81000040 0x0000000000000001\r\nCannot access memory\r\n")
		m.answer(r, `"return": `+string(reply))
	}()
	within(t, "words", func() {
		words, err := q.Words(1, 0xffffc90000013e58, 3)
		if diff := cmp.Diff([]uint64{0xffffffff81000030, 0, 0xffffffff81000040}, words); err != nil || diff != "" {
			t.Errorf("%v, %s", err, diff)
		}
	})
}
