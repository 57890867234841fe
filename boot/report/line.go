// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"bytes"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// A message is what one call of printk put on the console, or what stands on a
// line without being the kernel's.
type message struct {
	text    []byte
	stamped bool   // a time stood before it
	time    int64  // microseconds since boot; 0 when unknown
	caller  []byte // "T123", "C1": see CONFIG_PRINTK_CALLER; may be empty
	behind  bool   // it doesn't begin its line
}

// cleanLine takes away what terminals and serial ports add to a line: carriage
// returns and escape sequences.
func cleanLine(line []byte) []byte {
	line = trimRight(line)
	if bytes.IndexByte(line, '\r') >= 0 {
		line = line[bytes.LastIndexByte(line, '\r')+1:]
	}
	if bytes.IndexByte(line, escape) >= 0 {
		line = stripEscapes(line)
	}
	return line
}

// trimRight cuts off blanks, ends of lines and NULs. bytes.TrimRight takes longer.
func trimRight(text []byte) []byte {
	n := len(text)
	for n > 0 && (text[n-1] <= ' ' && (text[n-1] == ' ' || text[n-1] == '\t' || text[n-1] == '\r' || text[n-1] == '\n' || text[n-1] == 0)) {
		n--
	}
	return text[:n]
}

const escape = 0x1b

// stripEscapes returns a copy of the line without escape sequences: those that begin
// with "ESC [" and end with a letter or one of "@`{|}~", and two bytes of any other.
func stripEscapes(line []byte) []byte {
	clean := make([]byte, 0, len(line))
	for {
		i := bytes.IndexByte(line, escape)
		if i < 0 {
			return append(clean, line...)
		}
		clean = append(clean, line[:i]...)
		line = line[i+1:]
		if len(line) == 0 {
			return clean
		}
		end := 0
		if line[0] == '[' {
			end = 1
			for end < len(line) && (line[end] < '@' || line[end] > '~') {
				end++
			}
		}
		line = line[min(end+1, len(line)):]
	}
}

// nextMessage cuts the first message off a line. What follows a time in the
// middle of a line is a message of its own: the kernel doesn't wait until a program
// or another processor has ended its line.
func nextMessage(line []byte, behind bool) (m message, rest []byte) {
	m.behind = behind
	text := line
	if !behind {
		text = skipLevel(text)
	}
	us, after, ok := cutTime(text)
	if !ok && !behind {
		text = skipLogPrefix(text)
		us, after, ok = cutTime(text)
	}
	if ok {
		m.stamped, m.time = true, us
		m.caller, text = cutCaller(after)
		text = cutHost(text)
	} else if after, ok := cutReadable(text); ok && !behind {
		text = after
	} else if after, ok := cutKmsg(text); ok && !behind {
		text = after
	} else if after, ok := cutSyslog(text); ok && !behind {
		text = after
	}
	for from := 1; from < len(text); {
		i := bytes.IndexByte(text[from:], '[')
		if i < 0 {
			break
		}
		if _, _, ok := cutTime(text[from+i:]); ok {
			m.text, rest = text[:from+i], text[from+i:]
			return m, rest
		}
		from += i + 1
	}
	m.text = text
	return m, nil
}

// skipLevel skips a log level, "<4>", as the console of ramoops and `dmesg -r` have
// it, and the notice of printk that it dropped messages.
func skipLevel(text []byte) []byte {
	if len(text) > 3 && text[0] == '<' {
		if i := bytes.IndexByte(text[:min(len(text), 6)], '>'); i > 1 && allDigits(text[1:i]) {
			return text[i+1:]
		}
	}
	if after, ok := bytes.CutPrefix(text, []byte("** ")); ok {
		const dropped = " printk messages dropped ** "
		if i := bytes.Index(after, []byte(dropped)); i > 0 && allDigits(after[:i]) {
			return after[i+len(dropped):]
		}
	}
	return text
}

// maxPrefix is how long a prefix of somebody else than printk may be, in bytes.
const maxPrefix = 120

// skipLogPrefix skips what a program that keeps a log puts before a line of the kernel,
// provided that the kernel's time follows: "Nov 29 12:00:00 host kernel: " of syslogd,
// "kern  :warn  : " of `dmesg -x`, the date and time of a machine that runs tests.
func skipLogPrefix(text []byte) []byte {
	if len(text) == 0 || text[0] == ' ' {
		return text
	}
	for i := 1; i < len(text) && i < maxPrefix; i++ {
		next := bytes.IndexByte(text[i:min(len(text), maxPrefix)], '[')
		if next < 0 {
			break
		}
		if i += next; text[i-1] != ' ' {
			continue
		}
		if _, _, ok := cutTime(text[i:]); !ok {
			continue
		}
		prefix := text[:i]
		if bytes.HasSuffix(prefix, []byte(" kernel: ")) || bytes.HasPrefix(prefix, []byte("kern ")) || isDate(prefix) {
			return text[i:]
		}
		break
	}
	return text
}

// isDate says whether text is a date or a time of day, and nothing else.
func isDate(text []byte) bool {
	digits := 0
	for _, c := range text {
		switch {
		case isDigit(c):
			digits++
		case bytes.IndexByte([]byte(" -:./,+TZ[]|"), c) < 0:
			return false
		}
	}
	return digits >= 6
}

// cutTime cuts the time off that printk puts before a message: print_time in
// kernel/printk/printk.c, "[%5lu.%06lu]"; or the date that `dmesg -T` makes of it,
// which counts as a time of 0.
func cutTime(text []byte) (us int64, rest []byte, ok bool) {
	if len(text) < 10 || text[0] != '[' {
		return 0, nil, false
	}
	i := 1
	for i < len(text) && text[i] == ' ' {
		i++
	}
	begin := i
	for i < len(text) && isDigit(text[i]) {
		us = us*10 + int64(text[i]-'0')
		i++
	}
	if i == begin {
		return cutDate(text)
	}
	if i-begin > 10 || len(text) < i+8 || text[i] != '.' || text[i+7] != ']' || !allDigits(text[i+1:i+7]) {
		return 0, nil, false
	}
	for _, c := range text[i+1 : i+7] {
		us = us*10 + int64(c-'0')
	}
	rest = text[i+8:]
	if len(rest) > 0 && rest[0] == ' ' {
		rest = rest[1:]
	}
	return us, rest, true
}

// cutDate cuts off "[Sun Nov 29 12:00:00 2026] ".
func cutDate(text []byte) (us int64, rest []byte, ok bool) {
	const date = "[Sun Nov 29 12:00:00 2026] "
	if len(text) < len(date) {
		return 0, nil, false
	}
	for i := range len(date) {
		switch c := date[i]; {
		case isDigit(c):
			if !isDigit(text[i]) && text[i] != ' ' {
				return 0, nil, false
			}
		case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
			if !isLetter(text[i]) {
				return 0, nil, false
			}
		case text[i] != c:
			return 0, nil, false
		}
	}
	return 0, text[len(date):], true
}

// readable is what options of dmesg put in place of the time: --human, --delta, both with
// --ctime and --decode, and --time-format=iso; see print_record in util-linux's dmesg.c.
var readable = pattern.New(`^(?:kern *:\w+ *: )?(?:` +
	`\[(?: *\+\d+\.\d{6}|[A-Z][a-z]{2} ?\d{1,2} \d\d:\d\d|(?:\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} | *\d+\.\d{6} )?< *\d+\.\d{6}>)\]` +
	`|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{6}[+-]\d\d:\d\d)(?: |$)`)

// cutReadable cuts off such a time.
func cutReadable(text []byte) (rest []byte, ok bool) {
	switch {
	case len(text) < 8:
		return nil, false
	case text[0] == '[', bytes.HasPrefix(text, []byte("kern")), isDigit(text[0]) && len(text) > 10 && text[10] == 'T':
		if m := readable.FindSubmatch(text); m != nil {
			return text[len(m[0]):], true
		}
	}
	return nil, false
}

// cutHost cuts off what `journalctl -o short-monotonic` has between the time and a message
// of the kernel: the name of the machine, and "kernel: ".
func cutHost(text []byte) []byte {
	const maxHost = 64
	i := bytes.IndexByte(text[:min(len(text), maxHost+1)], ' ')
	if after, ok := bytes.CutPrefix(text[max(i, 0):], []byte(" kernel: ")); ok && i > 0 {
		return after
	}
	return text
}

// cutCaller cuts off who called printk: "[ T123] " or "[    C1] " as
// CONFIG_PRINTK_CALLER has it, or what Android's kernels put there: "c0 1234 ",
// "(0)[1:init]", "[0: swapper/0:    1] ".
func cutCaller(text []byte) (caller, rest []byte) {
	if len(text) < 4 {
		return nil, text
	}
	if text[0] == '[' {
		end := bytes.IndexByte(text[:min(len(text), 40)], ']')
		if end < 2 {
			return nil, text
		}
		id := bytes.TrimLeft(text[1:end], " ")
		after := text[end+1:]
		switch {
		case len(id) == 0:
		case len(id) > 1 && (id[0] == 'T' || id[0] == 'C') && allDigits(id[1:]):
			if len(after) > 0 && after[0] == ' ' {
				after = after[1:]
			}
			return id, after
		case isDigit(id[0]) && bytes.IndexByte(id, ':') > 0 && isDigit(id[len(id)-1]):
			if len(after) > 0 && after[0] == ' ' {
				after = after[1:]
			}
			return id, after
		}
		return nil, text
	}
	if text[0] == 'c' && isDigit(text[1]) && text[2] == ' ' {
		i := 3
		for i < len(text) && text[i] == ' ' {
			i++
		}
		begin := i
		for i < len(text) && isDigit(text[i]) {
			i++
		}
		if i > begin && i < len(text) && text[i] == ' ' {
			return text[begin:i], text[i+1:]
		}
	}
	if text[0] == '(' && isDigit(text[1]) && text[2] == ')' && text[3] == '[' {
		if end := bytes.IndexByte(text[:min(len(text), 40)], ']'); end > 0 {
			return text[4:end], text[end+1:]
		}
	}
	return nil, text
}

// cutKmsg cuts off the head of a record of /dev/kmsg: "6,339,5140900,-;".
func cutKmsg(text []byte) (rest []byte, ok bool) {
	if len(text) == 0 || !isDigit(text[0]) {
		return nil, false
	}
	head, rest, ok := bytes.Cut(text[:min(len(text), 64)], []byte(";"))
	if !ok || bytes.Count(head, []byte(",")) < 3 || len(rest) == 0 {
		return nil, false
	}
	for _, c := range head {
		if !isDigit(c) && c != ',' && c != '-' && c != 'c' {
			return nil, false
		}
	}
	return text[len(head)+1:], true
}

// cutSyslog cuts off what syslogd and journald put before a message of the kernel:
// a time, the name of the machine, and "kernel: ".
func cutSyslog(text []byte) (rest []byte, ok bool) {
	if len(text) < 16 || !isLetter(text[0]) && !isDigit(text[0]) {
		return nil, false
	}
	const tag = " kernel: "
	i := bytes.Index(text[:min(len(text), maxPrefix)], []byte(tag))
	if i < 15 || bytes.Count(text[:i], []byte(":")) < 2 {
		return nil, false
	}
	return text[i+len(tag):], true
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func allDigits(text []byte) bool {
	for _, c := range text {
		if !isDigit(c) {
			return false
		}
	}
	return len(text) > 0
}
