module github.com/metaspace/run-kernel

go 1.26.0

require (
	golang.org/x/crypto v0.59.0
	golang.org/x/sys v0.50.0
)

require github.com/creack/pty v1.1.24

require github.com/cavaliergopher/cpio v1.0.1

require golang.org/x/sync v0.25.0
