package chart

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func checkKinds(t *testing.T, documents []map[string]any, wanted []string) {
	t.Helper()
	var kinds []string
	for _, document := range documents {
		kinds = append(kinds, fmt.Sprint(document["kind"]))
	}
	slices.Sort(kinds)
	slices.Sort(wanted)
	if !slices.Equal(kinds, wanted) {
		t.Errorf("rendered %v, expected %v", kinds, wanted)
	}
}

func check(t *testing.T, documents []map[string]any, e expectation) {
	t.Helper()
	var found any
	seen := 0
	for _, document := range documents {
		if document["kind"] == e.Kind {
			found = document
			seen++
		}
	}
	if seen != 1 {
		t.Errorf("%d objects of kind %s, expected one", seen, e.Kind)
		return
	}
	value, there := walk(found, e.Path)
	where := e.Kind + " " + e.Path
	if e.Absent {
		if there {
			t.Errorf("%s: is %v, and should not be there", where, value)
		}
		return
	}
	if !there {
		t.Errorf("%s: is not there", where)
		return
	}
	switch {
	case e.Length != nil:
		if n := reflect.ValueOf(value).Len(); n != *e.Length {
			t.Errorf("%s: has %d entries, expected %d", where, n, *e.Length)
		}
	case e.Contains != nil:
		if !contains(value, e.Contains) {
			t.Errorf("%s: %v does not contain %v", where, value, e.Contains)
		}
	case e.Lacks != nil:
		if contains(value, e.Lacks) {
			t.Errorf("%s: %v contains %v", where, value, e.Lacks)
		}
	case e.Equals != nil:
		if !reflect.DeepEqual(value, e.Equals) {
			t.Errorf("%s: %v, expected %v", where, value, e.Equals)
		}
	default:
		t.Errorf("%s: the expectation says nothing", where)
	}
}

func contains(value, part any) bool {
	switch value := value.(type) {
	case string:
		return strings.Contains(value, fmt.Sprint(part))
	case []any:
		return slices.ContainsFunc(value, func(one any) bool { return reflect.DeepEqual(one, part) })
	}
	return false
}

var step = regexp.MustCompile(`^\.?([A-Za-z_]+)|^\[([0-9]+)\]|^\[([a-zA-Z]+)=([^\]]+)\]|^\["([^"]+)"\]`)

// walk follows a path; false where it leads nowhere.
func walk(value any, path string) (any, bool) {
	for path != "" {
		match := step.FindStringSubmatch(path)
		if match == nil {
			panic("bad path: " + path)
		}
		path = path[len(match[0]):]
		switch {
		case match[1] != "" || match[5] != "":
			object, _ := value.(map[string]any)
			next, there := object[match[1]+match[5]]
			if !there {
				return nil, false
			}
			value = next
		case match[2] != "":
			list, _ := value.([]any)
			index, _ := strconv.Atoi(match[2])
			if index >= len(list) {
				return nil, false
			}
			value = list[index]
		default:
			list, _ := value.([]any)
			at := slices.IndexFunc(list, func(one any) bool {
				object, _ := one.(map[string]any)
				return fmt.Sprint(object[match[3]]) == match[4]
			})
			if at < 0 {
				return nil, false
			}
			value = list[at]
		}
	}
	return value, true
}
