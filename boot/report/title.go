// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/metaspace/run-kernel/internal/pattern"
)

// A refinement gives a WARNING a name of its own, by the function that warned. They
// are what many callers can be guilty of.
type refinement struct {
	functions *names
	file      string // end of the source file's path; empty: any
	class     Class
	title     string
	skip      *names // machinery of this report, beside the general one
}

var refinements = []refinement{
	{file: "lib/refcount.c", class: Refcount, title: "WARNING: refcount bug in {func}"},
	{functions: newNames(`refcount_* __refcount_* ex_handler_refcount`), class: Refcount, title: "WARNING: refcount bug in {func}"},
	{functions: newNames(`kref_* kobject_get`), file: "include/linux/kref.h", class: Refcount, title: "WARNING: refcount bug in {func}"},
	{file: "lib/debugobjects.c", class: Warning, title: "WARNING: ODEBUG bug in {func}"},
	{file: "kernel/locking/lockdep.c", class: Lockdep, title: "WARNING: locking bug in {func}"},
	{file: "kernel/lockdep.c", class: Lockdep, title: "WARNING: locking bug in {func}"},
	{file: "lib/kobject.c", class: Warning, title: "WARNING: kobject bug in {func}"},
	{file: "fs/proc/generic.c", class: Warning, title: "WARNING: proc registration bug in {func}", skip: newNames(`proc_* __proc_* remove_proc_*`)},
	{file: "mm/slab_common.c", functions: newNames(`kmalloc_slab`), class: Warning, title: "WARNING: kmalloc bug in {func}"},
	{file: "mm/util.c", functions: newNames(`*kvmalloc*`), class: Warning, title: "WARNING: kmalloc bug in {func}"},
	{file: "mm/vmalloc.c", functions: newNames(`__vmalloc_node_range*`), class: Warning, title: "WARNING: zero-size vmalloc in {func}"},
	{file: "mm/usercopy.c", class: Warning, title: "WARNING: bad usercopy in {func}"},
	{file: "drivers/usb/core/urb.c", functions: newNames(`usb_submit_urb`), class: Warning, title: "WARNING in {func}/usb_submit_urb", skip: newNames(`usb_submit_urb usb_start_wait_urb usb_bulk_msg usb_interrupt_msg usb_control_msg*`)},
}

// name gives a report its title, class and guilty function.
func (o *open) name() {
	k := o.kind
	title := k.title
	o.Class = k.class
	if k.class == Warning && k.find != nil {
		o.refine()
		if o.refined.title != "" {
			title, o.Class = o.refined.title, o.refined.class
		}
	}
	find := k.find
	if find == nil {
		find = topFrame
	}
	o.traces()
	o.Function = find(o)
	if o.at < 0 && o.main < 0 && len(o.Stacks) > 0 {
		o.main = 0
	}

	if bare := k.bare; bare != "" && o.access() == "" {
		title, o.Mangled = bare, true
	}
	if o.Function == "" && k.lost != "" {
		title, o.Mangled = k.lost, true
	}
	if o.Function == "" && strings.Contains(title, "{func}") {
		o.Mangled = true
	}
	o.Title = strings.TrimSpace(o.expand(title))
	if o.Function == "" && o.Class == Oops {
		o.Function = o.guess()
	}
	o.locate()
}

var placeText = pattern.New(`(?:^|[ (])((?:[\w.+-]+/|\.{1,2}/|/)+[\w.+-]+\.(?:[chSs]|rs)):(\d+)`)

// sourceText says whether text may name a source file and a line, sooner than a regular
// expression does.
func sourceText(text string) bool {
	for _, end := range []string{".c:", ".h:", ".rs:", ".S:", ".s:"} {
		if strings.Contains(text, end) {
			return true
		}
	}
	return false
}

// locate finds the place in the source that the headline names, and gives it to the
// frame that it belongs to.
func (o *open) locate() {
	if !sourceText(o.rest) {
		return
	}
	m := placeText.FindStringSubmatch(o.rest)
	if m == nil {
		return
	}
	line, err := strconv.Atoi(m[2])
	if err != nil {
		return
	}
	o.File, o.Line = m[1], line
	var belongs func(Frame) bool
	switch {
	case o.kind.class == Warning:
		_, function := o.warnedAt()
		belongs = func(f Frame) bool { return baseName(f.Function) == function }
	case o.kind.class == UBSAN:
		belongs = func(f Frame) bool { return !f.Inlined && baseName(f.Function) == o.Function }
	case strings.Contains(o.Headline, "BUG at "):
		belongs = func(f Frame) bool { return f.Register }
	default:
		return
	}
	for _, i := range []int{o.at, o.main} {
		if i < 0 {
			continue
		}
		for j := range o.Stacks[i].Frames {
			if f := &o.Stacks[i].Frames[j]; !f.Uncertain && belongs(*f) {
				if f.File == "" {
					f.File, f.Line = o.File, o.Line
				}
				return
			}
		}
	}
}

// refine looks for the refinement of a WARNING.
func (o *open) refine() {
	file, function := o.warnedAt()
	for _, r := range refinements {
		if r.file != "" && !strings.HasSuffix(file, r.file) || r.functions != nil && !r.functions.has(function) {
			continue
		}
		o.refined = r
		return
	}
}

var warnedLine = pattern.New(`(?:at )?(\S+?\.[chSrs]+):\d+`)

// warnedAt returns the place that a WARNING's headline names.
func (o *open) warnedAt() (file, function string) {
	if m := warnedLine.FindStringSubmatch(o.rest); m != nil {
		file = m[1]
	}
	for _, word := range strings.Fields(o.rest) {
		if i := strings.Index(word, "+0x"); i > 0 {
			return file, baseName(word[:i])
		}
	}
	return file, ""
}

func (o *open) says(text string) bool {
	for _, line := range o.body {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// access tells how KASAN found that memory was used: Read or Write.
func (o *open) access() string {
	for _, line := range o.body {
		word, rest, _ := strings.Cut(line, " ")
		if (word == "Read" || word == "Write") && (strings.HasPrefix(rest, "of size ") || strings.HasPrefix(rest, "at addr ")) {
			return word
		}
	}
	return ""
}

// below is the line under the headline.
func (o *open) below() string {
	_, after, _ := strings.Cut(o.Text, o.Headline+"\n")
	if line, _, _ := strings.Cut(after, "\n"); line != "" {
		return normalise(line)
	}
	return "corrupted"
}

// expand fills a title's braces.
func (o *open) expand(title string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(title, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		key, after, _ := strings.Cut(rest, "}")
		title = after
		switch key {
		case "func":
			b.WriteString(cmp.Or(o.Function, "corrupted"))
		case "rest":
			b.WriteString(normalise(o.rest))
		case "access":
			b.WriteString(o.access())
		case "below":
			b.WriteString(o.below())
		default:
			if i, err := strconv.Atoi(key); err == nil && i < len(o.groups) {
				b.WriteString(baseQuoted(o.groups[i]))
			}
		}
	}
}

// baseQuoted cleans a group of a headline, which may be a function.
func baseQuoted(text string) string {
	if strings.ContainsAny(text, " (/") {
		return normalise(text)
	}
	return baseName(text)
}

var (
	offsetText  = pattern.New(`\+0x[0-9a-f]+(/0x[0-9a-f]+)?`)
	addressText = pattern.New(`\b(0x)?[0-9a-f]{8,}\b|\b0x[0-9a-f]+\b`)
	numberText  = pattern.New(`\b\d+\b`)
)

// normalise replaces what differs between two occurrences of a message.
func normalise(text string) string {
	text = offsetText.ReplaceAllString(text, "")
	text = addressText.ReplaceAllString(text, "ADDR")
	text = numberText.ReplaceAllString(text, "NUM")
	return strings.TrimRight(strings.TrimSpace(text), ". ")
}
