package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// selection is which vectors of a file are run.
type selection struct {
	name  *regexp.Regexp
	limit int // 0: no limit
}

// outcome is what came of one vector.
type outcome struct {
	name        string
	run         bool
	line        []byte   // as it should be recorded: the old line where nothing but times differs
	differences []string // from what was recorded
	err         error    // the managers could not be asked
}

// result is what came of a file.
type result struct {
	path                   string
	outcomes               []outcome
	run, differing, failed int
}

func runFile(path string, selected selection, reference *reference) (*result, error) {
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	result := &result{path: path, outcomes: make([]outcome, len(lines))}
	var merging sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, line := range lines {
		vector, err := parseObject(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		outcome := &result.outcomes[i]
		outcome.line = line
		if err := json.Unmarshal(vector.get("name"), &outcome.name); err != nil {
			return nil, fmt.Errorf("line %d: name: %w", i+1, err)
		}
		if !selected.name.MatchString(outcome.name) || (selected.limit > 0 && result.run == selected.limit) {
			continue
		}
		outcome.run = true
		result.run++
		switch {
		case vector.get("ops") != nil: // the counters are the process's: one scenario at a time
			outcome.decide(vector, func() (any, error) { return reference.decide(line) })
		case vector.get("providers") != nil:
			free <- struct{}{}
			merging.Go(func() {
				outcome.decide(vector, func() (any, error) { return reference.merge(line) })
				<-free
			})
		default:
			return nil, fmt.Errorf("line %d (%s): neither a scenario (ops) nor a merge (providers)", i+1, outcome.name)
		}
	}
	merging.Wait()
	for _, outcome := range result.outcomes {
		if outcome.err != nil {
			result.failed++
		} else if len(outcome.differences) > 0 {
			result.differing++
		}
	}
	return result, nil
}

// decide asks the managers, and compares their answer with what is recorded.
func (o *outcome) decide(vector object, ask func() (any, error)) {
	answer, err := guarded(ask)
	if err != nil {
		o.err = err
		return
	}
	recorded := vector.get("expect")
	if recorded == nil {
		o.differences = []string{"nothing is recorded"}
	} else if o.differences, o.err = compare(recorded, answer); o.err != nil {
		return
	}
	if len(o.differences) > 0 {
		o.line = vector.with("expect", answer)
	}
}

// guarded gives the answer as JSON. The managers panic on some inputs, sparse NUMA ids with prefer-closest-numa-nodes
// among them; such a vector cannot be recorded.
func guarded(ask func() (any, error)) (answer json.RawMessage, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v\n%s", reason, debug.Stack())
		}
	}()
	decided, err := ask()
	if err != nil {
		return nil, err
	}
	return json.Marshal(decided)
}

// print says what differs, of the first vectors only, and then how many do.
func (r *result) print(out io.Writer) {
	const most = 20
	printed := 0
	for _, outcome := range r.outcomes {
		if printed == most {
			break
		}
		switch {
		case outcome.err != nil:
			fmt.Fprintf(out, "%s: FAILED: %v\n", outcome.name, outcome.err)
			printed++
		case len(outcome.differences) > 0:
			fmt.Fprintf(out, "%s:\n  %s\n", outcome.name, strings.Join(first(outcome.differences, 8), "\n  "))
			printed++
		}
	}
	if rest := r.differing + r.failed - printed; rest > 0 {
		fmt.Fprintf(out, "… and %d more\n", rest)
	}
	fmt.Fprintf(out, "%s: %d run, %d differ, %d failed\n", r.path, r.run, r.differing, r.failed)
}

func first(lines []string, most int) []string {
	if len(lines) <= most {
		return lines
	}
	return append(lines[:most:most], fmt.Sprintf("… and %d more", len(lines)-most))
}

// save writes the file anew. What could not be asked or was not run stays as it was.
func (r *result) save() error {
	var lines [][]byte
	for _, outcome := range r.outcomes {
		lines = append(lines, outcome.line)
	}
	return writeLines(r.path, lines)
}
