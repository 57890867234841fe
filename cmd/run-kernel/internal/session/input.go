// SPDX-License-Identifier: GPL-3.0-only

package session

import "io"

// A sharedInput is standard input for one command after another. What is typed between
// two of them is the next one's: a read can't be taken back, and would otherwise be the
// last one's still.
type sharedInput struct{ chunks chan []byte }

// shareInput begins to read r, to its end.
func shareInput(r io.Reader) *sharedInput {
	s := &sharedInput{chunks: make(chan []byte)}
	go func() {
		defer close(s.chunks)
		for {
			buf := make([]byte, 4096)
			n, err := r.Read(buf)
			if n > 0 {
				s.chunks <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

// reader returns the input of one command, which ends when done is closed.
func (s *sharedInput) reader(done <-chan struct{}) io.Reader { return &sharedReader{s: s, done: done} }

type sharedReader struct {
	s    *sharedInput
	done <-chan struct{}
	rest []byte
}

func (r *sharedReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		select {
		case <-r.done:
			return 0, io.EOF
		default:
		}
		select {
		case <-r.done:
			return 0, io.EOF
		case chunk, ok := <-r.s.chunks:
			if !ok {
				return 0, io.EOF
			}
			r.rest = chunk
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
