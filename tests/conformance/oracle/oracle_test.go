package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
)

func TestCompareTellsDifferencesAndIgnoresTimes(t *testing.T) {
	recorded := `{"steps":[{"admitted":true,"size":18446744073709551615,"reference_ns":1},{"gone":[0]}],"start":{"a":1}}`
	now := `{"start":{"a":2},"steps":[{"admitted":true,"size":18446744073709551614,"reference_ns":2},{"new":{}}]}`
	want := []string{
		`expect.start.a: recorded 1, now 2`,
		`expect.steps[0].size: recorded 18446744073709551615, now 18446744073709551614`,
		`expect.steps[1].gone: recorded [0], now "(absent)"`,
		`expect.steps[1].new: recorded "(absent)", now {}`,
	}
	got, err := compare([]byte(recorded), []byte(now))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("compare: %v\n got %q\nwant %q", err, got, want)
	}
}

func TestWithReplacesOneFieldAndKeepsTheRest(t *testing.T) {
	vector, err := parseObject([]byte(`{"name":"a\u003c", "expect":{"old":1},"machine": null}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(vector.with("expect", []byte(`2`))), `{"name":"a\u003c","expect":2,"machine":null}`; got != want {
		t.Errorf("replaced: got %s, want %s", got, want)
	}
	if got, want := string(vector[:1].with("expect", []byte(`2`))), `{"name":"a\u003c","expect":2}`; got != want {
		t.Errorf("added: got %s, want %s", got, want)
	}
}

func TestParseObjectRefusesWhatIsNone(t *testing.T) {
	for _, line := range []string{`[]`, `1`, `{`, `{"a":}`, `{"a":1`} {
		if _, err := parseObject([]byte(line)); err == nil {
			t.Errorf("%s was taken for an object", line)
		}
	}
}

func TestLinesSurviveWritingAndReading(t *testing.T) {
	lines := [][]byte{[]byte(`{"a":1}`), bytes.Repeat([]byte("x"), 1<<17)}
	for _, name := range []string{"v.jsonl", "v.jsonl.gz"} {
		path := filepath.Join(t.TempDir(), name)
		if err := writeLines(path, lines); err != nil {
			t.Fatal(err)
		}
		got, err := readLines(path)
		if err != nil || !slices.EqualFunc(got, lines, bytes.Equal) {
			t.Errorf("%s: %d of %d lines came back: %v", name, len(got), len(lines), err)
		}
	}
}
