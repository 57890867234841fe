// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table writes rows in columns, each as wide as its widest cell. The last column
// is wrapped at width, unless that is 0.
func Table(w io.Writer, width int, header []string, rows [][]string) {
	Rows(w, width, append([][]string{header}, rows...))
}

// Rows is Table without a header.
func Rows(w io.Writer, width int, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	indent := 0
	for _, n := range widths[:len(widths)-1] {
		indent += n + 2
	}
	for _, row := range rows {
		var start strings.Builder
		for i, cell := range row[:len(row)-1] {
			start.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		if row[len(row)-1] == "" {
			fmt.Fprintln(w, strings.TrimRight(start.String(), " "))
			continue
		}
		fmt.Fprint(w, start.String())
		for i, l := range Wrap(row[len(row)-1], width-indent) {
			if i > 0 {
				fmt.Fprint(w, strings.Repeat(" ", indent))
			}
			fmt.Fprintln(w, l)
		}
	}
}

// Wrap breaks text at blanks into lines of at most width runes; a width of less
// than 20 means no limit.
func Wrap(text string, width int) []string {
	if width < 20 {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
