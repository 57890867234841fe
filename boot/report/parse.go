// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"errors"
	"io"
)

// MaxReports is how many reports Parse returns.
const MaxReports = 1000

// ErrTooMany is the error of Parse when there were more than MaxReports; those that
// it returns are the first ones. A Parser has no such limit.
var ErrTooMany = errors.New("the log has too many reports")

// Parse reads a log until its end and returns what the kernel reported in it, in
// the order of the headlines' completion.
func Parse(r io.Reader) ([]Report, error) {
	var reports []Report
	var tooMany bool
	p := NewParser(func(found *Report) {
		if len(reports) < MaxReports {
			reports = append(reports, *found)
		} else {
			tooMany = true
		}
	})
	_, err := io.CopyBuffer(struct{ io.Writer }{p}, struct{ io.Reader }{r}, make([]byte, 64<<10))
	_ = p.Close() // never fails
	if err == nil && tooMany {
		err = ErrTooMany
	}
	return reports, err
}
