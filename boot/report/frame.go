// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"bytes"
	"strconv"
	"strings"
)

// maxSymbol bounds the length of a function's name; KSYM_NAME_LEN is 512.
const maxSymbol = 512

// parseFrame reads a line of a call trace, in the forms that the architectures
// have: " ? foo+0x1/0x2 [mod]", "[<ffffffff81000000>] foo+0x1/0x2",
// "[<c0100000>] (foo) from [<c0200000>] (bar+0x1/0x2)", and the additions of
// scripts/decode_stacktrace.sh and symbolizers, "foo+0x1/0x2 a/b.c:12 [inline]".
func parseFrame(text []byte) (f Frame, ok bool) {
	if bytes.IndexByte(text, '+') < 0 && !bytes.Contains(text, []byte("inline")) {
		return Frame{}, false
	}
	text = bytes.TrimLeft(text, " \t")
	for _, mark := range []string{"<IRQ>", "<NMI>", "<EOI>", "<TASK>", "<SOFTIRQ>"} {
		if after, ok := bytes.CutPrefix(text, []byte(mark)); ok {
			text = bytes.TrimLeft(after, " \t")
		}
	}
	if i := bytes.Index(text, []byte(" from ")); i >= 0 && len(text) > 0 && (text[0] == '[' || bytes.IndexByte(text[:i], ' ') < 0) {
		text = text[i+len(" from "):] // arm: who called
	}
	var inline bool
	text, inline = skipAddress(text)
	if after, ok := bytes.CutPrefix(text, []byte("? ")); ok {
		f.Uncertain = true
		text = bytes.TrimLeft(after, " ")
		text, _ = skipAddress(text)
	}
	if len(text) > 1 && text[0] == '(' {
		if i := bytes.LastIndexByte(text, ')'); i > 0 {
			text = text[1:i]
		}
	}
	plus := symbolEnd(text)
	if plus > 0 {
		rest := text[plus+len("+0x"):]
		if f.Offset, rest, ok = cutHex(rest); !ok {
			return Frame{}, false
		}
		if after, found := bytes.CutPrefix(rest, []byte("/0x")); found {
			if f.Size, rest, ok = cutHex(after); !ok {
				return Frame{}, false
			}
		} else if len(rest) > 0 {
			return Frame{}, false
		}
		if len(rest) > 0 && rest[0] != ' ' && rest[0] != '\t' && rest[0] != ')' && rest[0] != ']' && rest[0] != '(' {
			return Frame{}, false
		}
		f.Function = string(text[:plus])
		f.place(rest)
		return f, true
	}
	if !inline && !bytes.HasSuffix(text, []byte("[inline]")) {
		return Frame{}, false
	}
	name, rest, _ := bytes.Cut(text, []byte(" "))
	if bytes.HasPrefix(text, []byte("<")) { // Rust: "<a as b>::c a.rs:1 [inline]"
		if i := bytes.LastIndex(bytes.TrimSuffix(text, []byte(" [inline]")), []byte(" ")); i > 0 {
			name, rest = text[:i], text[i:]
		}
	}
	if len(name) == 0 || len(name) > maxSymbol || !symbolBytes(name) {
		return Frame{}, false
	}
	f.Function, f.Inlined = string(name), true
	f.place(rest)
	return f, f.File != ""
}

// parseRegister reads the line that names the function of the instruction pointer.
func parseRegister(text []byte) (f Frame, ok bool) {
	text = bytes.TrimLeft(text, " \t")
	for _, head := range registerHeads {
		rest, found := bytes.CutPrefix(text, []byte(head))
		if !found {
			continue
		}
		for len(rest) > 0 {
			rest = bytes.TrimLeft(rest, " :(")
			if after, isAddress := skipAddress(rest); isAddress || len(after) < len(rest) {
				rest = after
				continue
			}
			// "0010:" is a selector, and a bare number an address.
			if i := bytes.IndexAny(rest, ": "); i > 0 && allHex(rest[:i]) {
				rest = rest[i+1:]
				continue
			}
			break
		}
		if f, ok = parseFrame(bytes.TrimRight(rest, " )")); ok {
			f.Register = true
			return f, true
		}
		return Frame{}, false
	}
	return Frame{}, false
}

// registerHeads begin the lines that name the instruction pointer: show_regs and
// __show_regs of x86, arm64 ("pc : "), arm, riscv ("epc : "), powerpc, loongarch.
var registerHeads = []string{"RIP:", "EIP:", "IP:", "pc :", "pc:", "PC is at ", "epc :", "epc:", "epc   :", "NIP ", "NIP:", "PC:", "PC :"}

// skipAddress skips "[<ffffffff81000000>] " and "[c000000000001000] ". For the
// address of an inlined function kernels of old printed "inline".
func skipAddress(text []byte) (rest []byte, inline bool) {
	for len(text) > 2 && text[0] == '[' {
		end := bytes.IndexByte(text[:min(len(text), 64)], ']')
		if end < 0 {
			return text, inline
		}
		inside := bytes.Trim(text[1:end], "<> ")
		switch {
		case string(inside) == "inline":
			inline = true
		case len(inside) < 4 || !allHex(bytes.TrimPrefix(inside, []byte("0x"))):
			return text, inline
		}
		text = bytes.TrimLeft(text[end+1:], " ")
	}
	return text, inline
}

// symbolEnd returns the length of the name in front of "+0x"; 0 without any.
func symbolEnd(text []byte) int {
	i := bytes.Index(text, []byte("+0x"))
	if i <= 0 || i > maxSymbol || !symbolBytes(text[:i]) {
		return 0
	}
	return i
}

// symbolBytes says whether name can be a function's. Only names of Rust have
// blanks: "<a::B as c::D>::e".
func symbolBytes(name []byte) bool {
	if isDigit(name[0]) {
		return false
	}
	rust := name[0] == '<'
	for _, c := range name {
		switch {
		case isLetter(c), isDigit(c), c == '_', c == '.', c == '$', c >= 0x80:
		case c == ':', c == '<', c == '>', c == '{', c == '}', c == '#':
			if !rust && !bytes.Contains(name, []byte("::")) {
				return false
			}
		case c == ' ', c == '&', c == ',', c == '*', c == '[', c == ']', c == '(', c == ')', c == '=':
			if !rust {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// place reads what follows a frame's function: the module, the source, "[inline]".
func (f *Frame) place(rest []byte) {
	for len(rest) > 0 {
		rest = bytes.TrimLeft(rest, " \t")
		var word []byte
		if len(rest) > 0 && rest[0] == '[' {
			end := bytes.IndexByte(rest, ']')
			if end < 0 {
				return
			}
			word, rest = rest[1:end], rest[end+1:]
			if string(word) == "inline" {
				f.Inlined = true
			} else if f.Module == "" {
				// A build id may follow the name.
				f.Module, f.BuildID, _ = strings.Cut(string(word), " ")
			}
			continue
		}
		word, rest, _ = bytes.Cut(rest, []byte(" "))
		if file, line, ok := cutPlace(string(word)); ok && f.File == "" {
			f.File, f.Line = file, line
		}
	}
}

// cutPlace reads "mm/slub.c:12" and "mm/slub.c:12:3".
func cutPlace(word string) (file string, line int, ok bool) {
	file, rest, ok := strings.Cut(word, ":")
	if !ok || !strings.Contains(file, ".") {
		return "", 0, false
	}
	number, _, _ := strings.Cut(rest, ":")
	line, err := strconv.Atoi(number)
	return file, line, err == nil && line >= 0
}

func cutHex(text []byte) (value uint64, rest []byte, ok bool) {
	i := 0
	for i < len(text) && i < 16 && isHex(text[i]) {
		c := text[i] | 0x20
		if isDigit(text[i]) {
			value = value<<4 | uint64(text[i]-'0')
		} else {
			value = value<<4 | uint64(c-'a'+10)
		}
		i++
	}
	return value, text[i:], i > 0
}

func allHex(text []byte) bool {
	for _, c := range text {
		if !isHex(c) {
			return false
		}
	}
	return len(text) > 0
}
