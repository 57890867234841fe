// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"bytes"
	"hash/maphash"
	"strings"
)

const (
	// maxLine is how much of a line is looked at, in bytes.
	maxLine = 4 << 10
	// maxBody is how many of a report's first lines may say something for its title,
	// and maxKept how much of a headline is kept, in bytes.
	maxBody = 400
	maxKept = 512
	// maxText bounds Report.Text, maxStacks and maxFrames Report.Stacks.
	maxText   = 64 << 10
	maxStacks = 64
	maxFrames = 1024
	// maxOpen is how many reports may be open at once, one of each caller of printk.
	maxOpen = 8
	// maxLines ends a report that goes on for longer, and maxForeign one whose caller
	// prints nothing for so many lines of others.
	maxLines   = 4000
	maxForeign = 4000
	// maxUnlike ends a report after so many lines in a row that don't look as if
	// they belonged to one.
	maxUnlike = 25
	// maxAfter is how many messages of its caller may come after a report's end before
	// a panic.
	maxAfter = 12
	// maxGap is the same for time, in microseconds.
	maxGap = 60e6
	// maxQuoted is how much older than the newest message a message in the middle of
	// a line may be, in microseconds. What is older is quoted by a program.
	maxQuoted = 1e6
	// maxSeen is how many headlines are remembered, to know them when they are
	// printed again.
	maxSeen = 256
)

// A Parser finds reports in a console that it is given piece by piece. It keeps a
// bounded amount of memory, whatever comes. It isn't safe for concurrent use.
type Parser struct {
	// Begin is called with each headline, as soon as its line has ended. Of the
	// report only Headline, Class, FirstLine and Offset are known. A headline that
	// stands behind other text, which a program may have quoted, waits until the
	// kernel's next line goes on with the report. May be nil.
	Begin func(*Report)
	// Panic is called as soon as the kernel says that it stops, with the report that
	// made it stop. May be nil.
	Panic func(*Report)
	// Done is called with each report once it is complete. May be nil.
	Done func(*Report)

	partial   []byte // the line that hasn't ended, at most maxLine of it
	line      int64  // lines that ended
	offset    int64  // of the line that hasn't ended
	length    int64  // of it, so far
	banner    string // the last one, "Linux version …"
	stamped   bool   // the kernel's messages have their time
	newest    int64  // the newest time
	open      []*open
	leads     []lead // at most maxLeads
	seen      map[uint64]bool
	seenOrder []uint64
	seed      maphash.Seed
	spare     []byte // memory of the text of a report that is complete
}

// bannerHead begins the first line of a kernel's log; see linux_banner in init/version.c.
var bannerHead = []byte("Linux version ")

// An open report isn't complete yet.
type open struct {
	Report
	kind    *kind
	rest    string
	groups  []string
	refined refinement

	caller  string
	text    []byte
	body    []string // of text, once it is complete
	frames  int
	current int    // index of the stack that goes on, or -1
	above   string // the last line that was no frame
	named   bool   // a line has told which task reports
	mixed   bool   // there was a call trace before that: of another processor
	doubted bool   // the headline stood behind other text, and nothing has confirmed it
	ended   bool   // its end was seen; a panic may follow
	lines   int64
	unlike  int
	after   int // messages since the end that don't belong to it
	foreign int
	last    int64 // time of its last message
}

// A lead is what a caller has printed since the line that cuts it off from what came
// before: a headline may follow, to which it belongs.
type lead struct {
	caller string
	line   int64
	offset int64
	texts  []string
}

const (
	// maxLead is how many messages may stand between the cut and the headline.
	maxLead = 8
	// maxLeads is how many callers may be that far.
	maxLeads = 8
)

// NewParser returns a parser that calls done with each complete report.
func NewParser(done func(*Report)) *Parser { return &Parser{Done: done} }

// Write implements io.Writer. It takes any piece of a console, and never fails.
func (p *Parser) Write(data []byte) (int, error) {
	n := len(data)
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			p.keep(data)
			p.length += int64(len(data))
			break
		}
		line := data[:i]
		if p.length > 0 {
			p.keep(line)
			line = p.partial
		}
		p.length += int64(i) + 1
		p.endLine(line[:min(len(line), maxLine)])
		data = data[i+1:]
	}
	return n, nil
}

func (p *Parser) keep(data []byte) {
	if room := maxLine - len(p.partial); room > 0 {
		p.partial = append(p.partial, data[:min(room, len(data))]...)
	}
}

// Open says whether a report has begun that isn't complete.
func (p *Parser) Open() bool { return len(p.open) > 0 }

// Flush completes the reports that are open, as when the console has been silent
// for a while. The line that hasn't ended stays.
func (p *Parser) Flush() {
	for len(p.open) > 0 {
		p.finish(p.open[0])
	}
}

// Close takes what is left for a line, and completes the reports that are open.
func (p *Parser) Close() error {
	if p.length > 0 {
		p.endLine(p.partial)
	}
	p.Flush()
	return nil
}

// endLine handles a complete line.
func (p *Parser) endLine(line []byte) {
	p.line++
	rest := cleanLine(line)
	for behind := false; len(rest) > 0 || !behind && len(p.open) > 0; behind = true {
		var m message
		m, rest = nextMessage(rest, behind)
		p.message(m)
	}
	p.offset += p.length
	p.length = 0
	p.partial = p.partial[:0]
}

// message handles a message.
func (p *Parser) message(m message) {
	switch {
	case !m.stamped && p.stamped:
		return // a program's
	case m.behind && m.time < p.newest-maxQuoted:
		return // quoted by one
	}
	if m.stamped {
		p.stamped = true
		p.newest = max(p.newest, m.time)
		if bytes.HasPrefix(m.text, bannerHead) {
			p.Flush() // another kernel
			p.newest = m.time
		}
	}
	text := trimRight(m.text)
	if !m.behind && bytes.HasPrefix(text, bannerHead) {
		p.banner = string(text)
	}
	found, ok := matchKind(text, m.stamped)
	if !ok && !p.stamped {
		// Without times only the prompt that waits for a user says where the kernel's
		// message begins.
		if _, after, prompt := bytes.Cut(text, []byte(" login: ")); prompt {
			text, m.behind = after, true
			found, ok = matchKind(text, m.stamped)
		}
	}
	if ok && m.time > 0 && p.repeated(m) {
		return
	}
	own := p.find(m.caller)
	if own != nil && m.time > own.last+maxGap && own.kind.role != again {
		p.finish(own)
		own = nil
	}
	switch {
	case ok && own != nil && own.continued(found):
		own.add(p, m, text)
		own.follow(p, found)
	case ok:
		if own != nil {
			p.finish(own)
		}
		p.begin(m, text, found)
	case own != nil:
		if own.over(text) {
			p.finish(own)
			p.note(m, text)
			break
		}
		if own.after == 0 || tailLike(text) {
			own.add(p, m, text)
		}
	default:
		p.note(m, text)
	}
	for i := 0; i < len(p.open); i++ {
		o := p.open[i]
		if o != own {
			o.foreign++
		}
		if o.lines >= maxLines || o.unlike >= maxUnlike || o.foreign >= maxForeign {
			p.finish(o)
			i--
		}
	}
}

// repeated says whether a headline was seen before: programs print the kernel's log
// a second time, as `dmesg` and syslogd do.
func (p *Parser) repeated(m message) bool {
	if p.seen == nil {
		p.seen, p.seed = make(map[uint64]bool), maphash.MakeSeed()
	}
	var h maphash.Hash
	h.SetSeed(p.seed)
	for i := range 8 {
		_ = h.WriteByte(byte(m.time >> (8 * i)))
	}
	_, _ = h.Write(m.text)
	key := h.Sum64()
	if p.seen[key] {
		return true
	}
	p.seen[key] = true
	p.seenOrder = append(p.seenOrder, key)
	if len(p.seenOrder) > maxSeen {
		delete(p.seen, p.seenOrder[0])
		p.seenOrder = append(p.seenOrder[:0], p.seenOrder[1:]...)
	}
	return false
}

// find returns the open report of a caller.
func (p *Parser) find(caller []byte) *open {
	for _, o := range p.open {
		if string(caller) == o.caller {
			return o
		}
	}
	return nil
}

// note remembers the line that cuts a report off from what came before, and what
// follows it.
func (p *Parser) note(m message, text []byte) {
	if cut, _ := isCut(text); cut {
		p.takeLead(m.caller)
		if len(p.leads) >= maxLeads {
			p.leads = append(p.leads[:0], p.leads[1:]...)
		}
		p.leads = append(p.leads, lead{caller: string(m.caller), line: p.line, offset: p.offset, texts: []string{string(text)}})
		return
	}
	for i := range p.leads {
		if l := &p.leads[i]; string(m.caller) == l.caller {
			l.texts = append(l.texts, string(text[:min(len(text), maxKept)]))
			if len(l.texts) > maxLead {
				p.takeLead(m.caller)
			}
			return
		}
	}
}

// takeLead returns the lead of a caller, and forgets it.
func (p *Parser) takeLead(caller []byte) (lead, bool) {
	for i, l := range p.leads {
		if string(caller) == l.caller {
			p.leads = append(p.leads[:i], p.leads[i+1:]...)
			return l, true
		}
	}
	return lead{}, false
}

// isCut says whether a line begins a report: "cut here" of BUG and WARN, of arm, and
// the upper line of boxes.
func isCut(text []byte) (cut, box bool) {
	switch {
	case len(text) < 8:
		return false, false
	case text[0] == '-' && bytes.Contains(text, []byte("[ cut here ]---")), bytes.HasPrefix(text, []byte("8<--- cut here ---")):
		return true, false
	case allOf(text, '='):
		return true, true
	}
	return false, false
}

func allOf(text []byte, c byte) bool {
	for _, b := range text {
		if b != c {
			return false
		}
	}
	return true
}

func (p *Parser) begin(m message, text []byte, found match) {
	if len(p.open) >= maxOpen {
		p.finish(p.open[0])
	}
	o := &open{
		Report: Report{Headline: string(text[:min(len(text), maxKept)]), Banner: p.banner, Class: found.kind.class, FirstLine: p.line, Offset: p.offset, at: -1, main: -1},
		kind:   found.kind, rest: found.rest, groups: found.groups, caller: string(m.caller), current: -1, text: p.spare,
	}
	p.spare = nil
	if l, ok := p.takeLead(m.caller); ok {
		o.FirstLine, o.Offset = l.line, l.offset
		for _, text := range l.texts {
			o.write(text)
		}
	}
	p.open = append(p.open, o)
	o.write(o.Headline)
	o.extend(p, m)
	o.doubted = m.behind
	o.Panicked = found.kind.panics()
	if !o.doubted {
		o.announce(p)
	}
}

// announce calls who waits for the beginning.
func (o *open) announce(p *Parser) {
	if p.Begin != nil {
		p.Begin(&o.Report)
	}
	if o.Panicked && p.Panic != nil {
		p.Panic(&o.Report)
	}
}

// boxed says whether a line of "=" ends a report, as those of the sanitizers.
func (k *kind) boxed() bool { return k.class >= KASAN && k.class <= UBSAN }

func (k *kind) panics() bool { return strings.HasPrefix(k.head, "Kernel panic") }

func (o *open) panicked(p *Parser) {
	if !o.Panicked {
		o.Panicked = true
		if !o.doubted && p.Panic != nil {
			p.Panic(&o.Report)
		}
	}
}

// continued says whether a headline belongs to the report.
func (o *open) continued(found match) bool {
	k := found.kind
	switch k.role {
	case final:
		// An oops may end with any panic; after a warning most are another matter.
		return !k.panics() || o.kind.class <= StackOverflow || o.kind.role == preface || isConsequence(found.rest)
	case again:
		return o.kind.class == k.class && o.kind.role == again && !o.ended
	case fault:
		return o.kind.role == preface && !o.ended
	case preface:
		return o.kind.role == preface && !o.ended && o.lines < 12
	case whole:
		// What list_debug.c and others say before they warn.
		return k.class == Warning && o.kind.role == preface && !o.ended && o.lines < 4
	}
	return false
}

// follow handles a headline that belongs to the report.
func (o *open) follow(p *Parser, found match) {
	if found.kind.panics() {
		o.panicked(p)
		if found.kind.class == StackOverflow && o.kind.class == Oops {
			o.kind = found.kind
		}
	}
}

// over says whether a message comes after the report's end.
func (o *open) over(text []byte) bool {
	if cut, box := isCut(text); cut && (!box || o.ended) && !(box && o.kind.class == Hang) {
		return o.kind.role != preface || o.ended || o.lines > 4
	}
	if o.ended && !tailLike(text) {
		o.after++
	}
	return o.after > maxAfter
}

// extend makes the message the report's last.
func (o *open) extend(p *Parser, m message) {
	o.LastLine, o.End = p.line, p.offset+p.length
	o.last = max(o.last, m.time)
}

// write adds a line to the report's text.
func (o *open) write(text string) {
	if len(o.text)+len(text) < maxText {
		o.text = append(append(o.text, text...), '\n')
	}
}

func (o *open) writeBytes(text []byte) {
	if len(o.text)+len(text) < maxText {
		o.text = append(append(o.text, text...), '\n')
	}
}

// add adds a message to the report.
func (o *open) add(p *Parser, m message, text []byte) {
	o.lines++
	o.foreign = 0
	f, isFrame := parseFrame(text)
	if !isFrame {
		f, isFrame = parseRegister(text)
	}
	switch {
	case isFrame:
		o.mixed = o.mixed || !o.named && !f.Register && o.caller == ""
		o.addFrame(f)
	case breaksStack(text):
		o.current = -1
	}
	o.named = o.named || taskHeads.begin(text)
	if !isFrame && len(text) > 0 && !isMark(text) {
		o.above = string(text[:min(len(text), maxKept)])
	}
	if isFrame || reportLike(text) {
		o.unlike = 0
	} else {
		o.unlike++
	}
	if o.unlike < 4 {
		o.writeBytes(text)
	}
	if o.unlike == 0 {
		o.extend(p, m)
		if o.doubted && !m.behind && len(text) > 0 {
			o.doubted = false
			o.announce(p)
		}
	}
	if isEnd(text) || o.lines > 4 && o.kind.boxed() && allOf(text, '=') && len(text) > 20 {
		o.ended = true
	}
}

func (o *open) addFrame(f Frame) {
	if o.frames >= maxFrames {
		return
	}
	if o.current < 0 {
		if len(o.Stacks) >= maxStacks {
			return
		}
		o.Stacks = append(o.Stacks, Stack{Name: o.above, Frames: make([]Frame, 0, 16)})
		o.current = len(o.Stacks) - 1
	}
	o.frames++
	s := &o.Stacks[o.current]
	s.Frames = append(s.Frames, f)
}

// finish completes a report.
func (p *Parser) finish(o *open) {
	for i := range p.open {
		if p.open[i] == o {
			p.open = append(p.open[:i], p.open[i+1:]...)
			break
		}
	}
	if o.doubted {
		return // a program has quoted it
	}
	o.Text = string(o.text)
	p.spare = o.text[:0]
	o.body = strings.SplitN(o.Text, "\n", maxBody)
	o.name()
	if p.Done != nil {
		p.Done(&o.Report)
	}
}
