// SPDX-License-Identifier: GPL-3.0-only

package ansi

import "testing"

func TestStrip(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"plain ä\n\tx":                "plain ä\n\tx",
		"\x1b[1;31mred\x1b[0m":        "red",
		"\x1b]0;title\ax":             "x",
		"\x1b]8;;http://x\x1b\\link":  "link",
		"\x1bPdevice\x1b\\x":          "x",
		"\x1b(Bx\x1b=y\x1b7z":         "xyz",
		"\x1b[?25lx":                  "x",
		"x\x1b":                       "x",
		"x\x1b[":                      "x",
		"x\x1b[12":                    "x",
		"\x1b]never ended\nnext line": "\nnext line",
		"\x1b[31\nnext":               "\nnext",
		"\x1bäx":                      "äx",
		"\x1b[ä":                      "ä",
		"a\x00b\x07c\x08d\x7fe\rf\u0085g\u009b1m": "abcdefg1m",
		"\xff\xfex": "\ufffdx",
	} {
		if got := Strip(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
