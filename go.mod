module github.com/metaspace/run-kernel

go 1.24.0
