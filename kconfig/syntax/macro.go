// SPDX-License-Identifier: GPL-3.0-only

package syntax

import (
	"strconv"
	"strings"
)

// Limits of the macro language; see Documentation/kbuild/kconfig-macro-language.rst.
const (
	maxArguments = 16
	maxDepth     = 1000
	// maxExpansion is no limit of the kernel's: a text that doubles itself some
	// thirty times would fill the memory.
	maxExpansion = 16 << 20
	// Nor are these: some thirty functions each of which calls the next twice
	// would never end, and enough that call the next once fill the stack.
	maxReferences = 1 << 18
	maxCalls      = 10 * maxDepth
)

// A variable is a macro.
type variable struct {
	value     string
	simple    bool // expanded when it was assigned
	expanding int
}

// An Output is what a command of $(shell) wrote.
type Output struct {
	Stdout string
	Stderr string
}

// Pending is what a command's output reads as while it isn't known yet. What is
// made of it isn't either.
const Pending = "_output_of_a_command_that_still_runs_"

// macros expands $(…).
type macros struct {
	variables map[string]*variable
	getenv    func(string) (string, bool)
	shell     func(string) (Output, error)
	say       func(Diagnostic)
	expansion func(where, Expansion)
	pending   bool // a command's output was
	assigning bool // conf has read the newline then, and counted it
	nested    int  // references that are being expanded
	expanded  int  // since the outermost of them
}

// where is the place that $(filename) and $(lineno) tell.
type where = Pos

// assign is NAME = VALUE and its sisters.
func (m *macros) assign(at where, name, op, value string) error {
	m.assigning = true
	defer func() { m.assigning = false }()
	v := m.variables[name]
	if op == "+=" && v != nil {
		if v.simple {
			var err error
			if value, err = m.expand(at, value, nil); err != nil {
				return err
			}
		}
		v.value += " " + value
		return nil
	}
	v = &variable{value: value, simple: op == ":="}
	if v.simple {
		var err error
		if v.value, err = m.expand(at, value, nil); err != nil {
			return err
		}
	}
	m.variables[name] = v
	return nil
}

// expand expands all references in a text.
func (m *macros) expand(at where, text string, args []string) (string, error) {
	i := strings.IndexByte(text, '$')
	if i < 0 {
		return text, nil
	}
	var b strings.Builder
	for {
		b.WriteString(text[:i])
		value, rest, err := m.dollar(at, text[i+1:], args)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		if b.Len() > maxExpansion {
			return "", &Error{Pos: at, Problem: "the expansion is too long"}
		}
		text = rest
		if i = strings.IndexByte(text, '$'); i < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
	}
}

// dollar expands the reference that begins after a dollar, and returns what
// follows it. A dollar without a parenthesis is a dollar.
func (m *macros) dollar(at where, text string, args []string) (value, rest string, err error) {
	if text == "" || text[0] != '(' {
		return "$", text, nil
	}
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			if depth++; depth > maxDepth {
				return "", "", &Error{Pos: at, Problem: "the reference is nested too deep"}
			}
		case ')':
			depth--
			if depth == 0 {
				value, err = m.reference(at, text[1:i], args)
				return value, text[i+1:], err
			}
		}
	}
	return "", "", &Error{Pos: at, Problem: "unterminated reference to '" + text[1:] + "': missing ')'"}
}

// reference is what is between the parentheses.
func (m *macros) reference(at where, text string, args []string) (string, error) {
	if m.nested == 0 {
		m.expanded = 0
	}
	m.nested++
	m.expanded++
	defer func() { m.nested-- }()
	if m.nested > maxCalls || m.expanded > maxReferences {
		return "", &Error{Pos: at, Problem: "the expansion has too many references"}
	}
	words := split(text)
	if len(words) > maxArguments+1 {
		return "", &Error{Pos: at, Problem: "too many function arguments; at most " + strconv.Itoa(maxArguments) + " are allowed"}
	}
	for i, w := range words {
		var err error
		if words[i], err = m.expand(at, w, args); err != nil {
			return "", err
		}
	}
	name, given := words[0], words[1:]
	if len(given) == 0 {
		if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= len(args) {
			return args[n-1], nil
		}
	}
	if v := m.variables[name]; v != nil {
		return m.call(at, name, v, given)
	}
	if f, ok := functions[name]; ok {
		if len(given) < f.arguments {
			return "", &Error{Pos: at, Problem: "too few function arguments passed to '" + name + "'"}
		}
		if len(given) > f.arguments {
			return "", &Error{Pos: at, Problem: "too many function arguments passed to '" + name + "'"}
		}
		return f.call(m, at, given)
	}
	if len(given) == 0 {
		if value, ok := m.getenv(name); ok {
			m.expansion(at, Expansion{Name: name, Value: value})
			return value, nil
		}
	}
	return "", nil
}

// split splits at the commas that are in no parentheses.
func split(text string) []string {
	var words []string
	depth, start := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				words = append(words, text[start:i])
				start = i + 1
			}
		}
	}
	return append(words, text[start:])
}

func (m *macros) call(at where, name string, v *variable, args []string) (string, error) {
	if v.simple {
		return v.value, nil
	}
	if len(args) == 0 && v.expanding > 0 {
		return "", &Error{Pos: at, Problem: "recursive variable '" + name + "' references itself (eventually)"}
	}
	if v.expanding > maxDepth {
		return "", &Error{Pos: at, Problem: "too deep recursive expansion of '" + name + "'"}
	}
	v.expanding++
	defer func() { v.expanding-- }()
	return m.expand(at, v.value, args)
}

// told is the place that macros are told.
func (m *macros) told(at where) where {
	if m.assigning {
		at.Line++
	}
	return at
}

type function struct {
	arguments int
	call      func(m *macros, at where, args []string) (string, error)
}

var functions map[string]function

func init() {
	functions = map[string]function{
		"error-if": {2, func(_ *macros, at where, args []string) (string, error) {
			if args[0] == "y" {
				return "", &Error{Pos: at, Problem: args[1], Refusal: true}
			}
			return "", nil
		}},
		"filename": {0, func(_ *macros, at where, _ []string) (string, error) { return at.File, nil }},
		"info": {1, func(m *macros, _ where, args []string) (string, error) {
			m.say(Diagnostic{Stdout: true, Text: args[0] + "\n"})
			return "", nil
		}},
		"lineno": {0, func(m *macros, at where, _ []string) (string, error) { return strconv.Itoa(m.told(at).Line), nil }},
		"shell":  {1, (*macros).run},
		"warning-if": {2, func(m *macros, at where, args []string) (string, error) {
			if args[0] == "y" {
				m.say(Diagnostic{Text: m.told(at).String() + ": " + args[1] + "\n"})
			}
			return "", nil
		}},
	}
}

// run is $(shell,command).
func (m *macros) run(at where, args []string) (string, error) {
	if strings.Contains(args[0], Pending) {
		return Pending, nil
	}
	out, err := m.shell(args[0])
	if err != nil {
		return "", &Error{Pos: at, Problem: "$(shell): " + err.Error()}
	}
	if out.Stderr != "" {
		m.say(Diagnostic{Text: out.Stderr})
	}
	if out.Stdout == Pending {
		m.pending = true
		return Pending, nil
	}
	// See "shell" in kconfig-macro-language.rst; the kernel's buffer has 4096 bytes.
	text := out.Stdout[:min(len(out.Stdout), 4095)]
	if i := strings.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	text = strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", " ")
	m.expansion(at, Expansion{Command: args[0], Value: text})
	return text, nil
}
