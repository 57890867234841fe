// SPDX-License-Identifier: GPL-3.0-only

// Package solver finds the fewest edits of a .config that make requirements
// hold, with all that these depend on, or proves that there are none.
//
// That a symbol has a value is a goal. There are ways to reach it: to set it,
// where its prompt is visible, to have it selected, or by a default, and each way
// has goals of its own. The ways to the goals are a graph, in which Knuth's
// generalization of Dijkstra's algorithm finds the cheapest. What that costs is
// weighed in weight.go. What the kernel's own conf makes of the edits stays the
// judge: each round of edits is evaluated as conf would, and what isn't reached
// then is a goal of the next.
package solver
