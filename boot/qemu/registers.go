// SPDX-License-Identifier: GPL-3.0-only

package qemu

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// A CPU is the state of a processor of the guest, by the human monitor's
// `info registers`. QMP has no command for it.
type CPU struct {
	Index int
	PC    uint64
	SP    uint64
	User  bool // it runs a program, in the processor's unprivileged mode
	Idle  bool // it has halted until an interrupt comes; where qemu tells (x86)
	Off   bool // the kernel hasn't started it; where qemu tells (x86)
}

// CPUs returns the state of each processor. The guest may run meanwhile: the
// processors are looked at one after the other.
func (q *QMP) CPUs() ([]CPU, error) {
	text, err := q.Monitor("info registers -a")
	if err != nil {
		return nil, err
	}
	cpus := parseRegisters(text)
	if len(cpus) == 0 {
		return nil, fmt.Errorf("qmp: no processor in what `info registers -a` says: %.100q", text)
	}
	return cpus, nil
}

var (
	// In the dumps of x86, arm64 and riscv, in their order.
	programCounter = pattern.New(`(?m)(?:\bRIP=|\bEIP=|^\s*PC=|^\s*pc\s+)([0-9a-f]+)`)
	stackPointer   = pattern.New(`(?m)(?:\bRSP=|\bESP=|\bSP=|\bx2/sp\s+)([0-9a-f]+)`)
	privilege      = pattern.New(`\bCPL=3\b|\bEL0[th]\b`)
	halted         = pattern.New(`\bHLT=1\b`)
)

// firmwareEnd is where the memory ends in which an x86 processor waits, in the firmware
// or at its reset vector, for the interrupt that starts it.
const firmwareEnd = 1 << 20

func parseRegisters(text string) []CPU {
	var cpus []CPU
	for _, part := range strings.Split(text, "CPU#")[1:] {
		number, dump, _ := strings.Cut(part, "\n")
		index, err := strconv.Atoi(strings.TrimSpace(number))
		pc := programCounter.FindStringSubmatch(dump)
		if err != nil || pc == nil {
			continue
		}
		c := CPU{Index: index, PC: hexadecimal(pc[1]), User: privilege.MatchString(dump), Idle: halted.MatchString(dump)}
		if sp := stackPointer.FindStringSubmatch(dump); sp != nil {
			c.SP = hexadecimal(sp[1])
		}
		c.Off = c.Idle && c.PC < firmwareEnd
		cpus = append(cpus, c)
	}
	return cpus
}

func hexadecimal(digits string) uint64 {
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return math.MaxUint64
	}
	return n
}

var memoryWord = pattern.New(`0x([0-9a-f]{16})`)

// Words returns up to n words of 8 bytes at a virtual address, as a processor sees
// it. There are fewer where the memory ends.
func (q *QMP) Words(cpu int, address uint64, n int) ([]uint64, error) {
	var text string
	err := q.Execute("human-monitor-command", map[string]any{
		"command-line": fmt.Sprintf("x /%dxg 0x%x", n, address), "cpu-index": cpu,
	}, &text)
	if err != nil {
		return nil, err
	}
	var words []uint64
	for line := range strings.Lines(text) {
		_, values, found := strings.Cut(line, ": ")
		if !found {
			break
		}
		for _, m := range memoryWord.FindAllStringSubmatch(values, n-len(words)) {
			words = append(words, hexadecimal(m[1]))
		}
	}
	return words, nil
}

// Break sends a break on the serial port, which begins a request of the kernel's magic
// SysRq.
func (q *QMP) Break(chardev string) error {
	return q.Execute("chardev-send-break", map[string]any{"id": chardev}, nil)
}
