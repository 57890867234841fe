// SPDX-License-Identifier: GPL-3.0-only

package report

import "testing"

// A report knows which kernel made it, and which build of a module has a frame.
func TestIdentity(t *testing.T) {
	oops := `BUG: kernel NULL pointer dereference, address: 0
RIP: 0010:first+0x1/0x2 [mod 0123456789abcdef0123456789abcdef01234567]
---[ end trace 0000000000000000 ]---
`
	reports := parse(t, oops+"Linux version 6.1.1 (a@b) #1 \n"+oops+"say Linux version 6.1.2\nLinux version 6.1.3\n"+oops)
	if len(reports) != 3 {
		t.Fatal(titles(reports))
	}
	for i, want := range []string{"", "Linux version 6.1.1 (a@b) #1", "Linux version 6.1.3"} {
		if reports[i].Banner != want {
			t.Errorf("the banner of report %d is %q", i, reports[i].Banner)
		}
	}
	if f := reports[0].Frames()[0]; f.Module != "mod" || f.BuildID != "0123456789abcdef0123456789abcdef01234567" {
		t.Errorf("%+v", f)
	}
}

// arm64 prints the frame of the program counter twice. That is once too much also where
// other functions are inlined into it.
func TestFramesOnce(t *testing.T) {
	inlined := Frame{Function: "inlined", File: "b.h", Line: 2, Inlined: true}
	at := Frame{Function: "at", Offset: 1, Size: 8, File: "a.c", Line: 1}
	register := at
	register.Register = true
	r := Report{Function: "at", main: 1, Stacks: []Stack{
		{Frames: []Frame{inlined, register}},
		{Frames: []Frame{inlined, at, {Function: "caller", File: "a.c", Line: 9}}},
	}}
	if frames := r.Frames(); len(frames) != 3 || frames[2].Function != "caller" {
		t.Errorf("%+v", frames)
	}
	r.Locate()
	if r.File != "a.c" || r.Line != 1 {
		t.Errorf("it is in %s:%d", r.File, r.Line)
	}
	r.File, r.Line = "headline.c", 7
	r.Locate()
	if r.File != "headline.c" || r.Line != 7 {
		t.Errorf("it is in %s:%d, the headline said elsewhere", r.File, r.Line)
	}
}

// The line at fault is in the function that the compiler inlined into the guilty one, if
// that is of the same file.
func TestLocateInlined(t *testing.T) {
	for _, test := range []struct {
		name   string
		frames []Frame
		line   int
	}{
		{"of the same file", []Frame{
			{Function: "inner", File: "a.c", Line: 1, Inlined: true},
			{Function: "outer", File: "a.c", Line: 5, Inlined: true},
			{Function: "guilty", File: "a.c", Line: 9},
		}, 1},
		{"of a header below it", []Frame{
			{Function: "list_del", File: "list.h", Line: 1, Inlined: true},
			{Function: "outer", File: "a.c", Line: 5, Inlined: true},
			{Function: "guilty", File: "a.c", Line: 9},
		}, 5},
		{"of another frame", []Frame{
			{Function: "inner", File: "a.c", Line: 1, Inlined: true},
			{Function: "panic", File: "a.c", Line: 5},
			{Function: "guilty", File: "a.c", Line: 9},
		}, 9},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := Report{Function: "guilty", Stacks: []Stack{{Frames: test.frames}}}
			r.Locate()
			if r.File != "a.c" || r.Line != test.line {
				t.Errorf("it is in %s:%d, want line %d", r.File, r.Line, test.line)
			}
		})
	}
}
