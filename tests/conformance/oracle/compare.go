package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// compare tells what differs between two JSON texts, times aside.
func compare(recorded, now []byte) ([]string, error) {
	before, err := parse(recorded)
	if err != nil {
		return nil, fmt.Errorf("what is recorded: %w", err)
	}
	after, err := parse(now)
	if err != nil {
		return nil, err
	}
	return differences("expect", before, after), nil
}

func parse(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // a uint64 does not fit a float64
	var value any
	err := decoder.Decode(&value)
	return value, err
}

// absent stands for a field or element that one side lacks.
type absent struct{}

func (absent) MarshalJSON() ([]byte, error) { return []byte(`"(absent)"`), nil }

func differences(path string, before, after any) []string {
	var all []string
	switch was := before.(type) {
	case map[string]any:
		is, same := after.(map[string]any)
		if !same {
			break
		}
		names := map[string]bool{}
		for name := range was {
			names[name] = true
		}
		for name := range is {
			names[name] = true
		}
		delete(names, "reference_ns")
		for _, name := range slices.Sorted(maps.Keys(names)) {
			all = append(all, differences(path+"."+name, member(was, name), member(is, name))...)
		}
		return all
	case []any:
		is, same := after.([]any)
		if !same {
			break
		}
		for i := range max(len(was), len(is)) {
			all = append(all, differences(fmt.Sprintf("%s[%d]", path, i), element(was, i), element(is, i))...)
		}
		return all
	}
	if before == after {
		return nil
	}
	return []string{fmt.Sprintf("%s: recorded %s, now %s", path, short(before), short(after))}
}

func member(of map[string]any, name string) any {
	if value, there := of[name]; there {
		return value
	}
	return absent{}
}

func element(of []any, i int) any {
	if i < len(of) {
		return of[i]
	}
	return absent{}
}

func short(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	const most = 200
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}
