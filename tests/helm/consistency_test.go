package chart

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

func load(t *testing.T, path string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	if err := yaml.Unmarshal(raw, &value); err != nil {
		t.Fatal(path, err)
	}
	return value
}

func get(t *testing.T, value map[string]any, path string) any {
	t.Helper()
	found, there := walk(value, path)
	if !there {
		t.Fatal(path, " is not there")
	}
	return found
}

// Keys of podfence.yaml that are not among the chart's config: those of mode local and of planning, and those that it
// sets from values of its own.
var notOffered = []string{"staticPodPath", "podLogsDir", "containerLogMaxSize", "machine", "nodeName", "apiServer",
	"apiServerTokenFile", "apiServerCAFile", "kubeletStateDirectory", "cpusetPartitions"}

func TestConfigurationIsTheAgents(t *testing.T) {
	agent := load(t, "../../config/podfence.yaml")
	values := get(t, load(t, chart+"/values.yaml"), "config").(map[string]any)
	schema := get(t, load(t, chart+"/values.schema.json"), "properties.config.properties").(map[string]any)
	for key := range agent {
		_, inValues := values[key]
		_, inSchema := schema[key]
		if offered := !slices.Contains(notOffered, key); inValues != offered || inSchema != offered {
			t.Errorf("%s: in config/podfence.yaml; in values.yaml: %v, in the schema: %v, expected %v", key, inValues, inSchema, offered)
		}
	}
	for key := range schema {
		if _, known := agent[key]; !known {
			t.Errorf("%s: the agent has no such key", key)
		}
	}
	// Where the chart's default is another than the agent's, a pod needs it so.
	for key, value := range values {
		if slices.Contains([]string{"mode", "listenAddress"}, key) {
			continue
		}
		mine, _ := json.Marshal(value)
		theirs, _ := json.Marshal(agent[key])
		if string(mine) != string(theirs) {
			t.Errorf("%s: the chart's default is %s, the agent's %s", key, mine, theirs)
		}
	}
}

// What the chart sets by itself reaches the agent under a key that it has.
func TestEveryRenderedKeyIsTheAgents(t *testing.T) {
	text, err := render(t, testCase{Values: map[string]any{"apiServer": map[string]any{"host": "api.example.org"}}})
	if err != nil {
		t.Fatal(text)
	}
	agent := load(t, "../../config/podfence.yaml")
	for _, document := range decode(t, text) {
		if document["kind"] != "ConfigMap" {
			continue
		}
		var rendered map[string]any
		if err := yaml.Unmarshal([]byte(get(t, document, `data["podfence.yaml"]`).(string)), &rendered); err != nil {
			t.Fatal(err)
		}
		for key := range rendered {
			if _, known := agent[key]; !known {
				t.Errorf("%s: rendered, and the agent has no such key", key)
			}
		}
		for _, key := range []string{"apiServer", "kubeletStateDirectory", "cpusetPartitions"} {
			if _, there := rendered[key]; !there {
				t.Errorf("%s is not rendered", key)
			}
		}
	}
}

func TestAlertsAreTheRules(t *testing.T) {
	var names []string
	for _, group := range get(t, load(t, "../../metrics/rules/alerts.yaml"), "groups").([]any) {
		for _, rule := range group.(map[string]any)["rules"].([]any) {
			rule := rule.(map[string]any)
			name := rule["alert"].(string)
			names = append(names, name)
			if _, there := walk(rule, "labels.severity"); !there {
				t.Errorf("%s has no severity", name)
			}
			for _, annotation := range []string{"summary", "description", "runbook"} {
				if _, there := walk(rule, "annotations."+annotation); !there {
					t.Errorf("%s has no %s", name, annotation)
				}
			}
		}
	}
	for where, path := range map[string]string{"values.yaml": "prometheusRule.alerts",
		"values.schema.json": "properties.prometheusRule.properties.alerts.properties"} {
		known := get(t, load(t, chart+"/"+where), path).(map[string]any)
		for _, name := range names {
			if _, there := known[name]; !there {
				t.Errorf("%s has no switch for %s", where, name)
			}
		}
		if len(known) != len(names) {
			t.Errorf("%s has %d alerts, the rules have %d", where, len(known), len(names))
		}
	}
}

// Every value has a place in the schema, and every object of the schema is closed.
func TestSchemaKnowsEveryValue(t *testing.T) {
	schema := load(t, chart+"/values.schema.json")
	var visit func(values, properties map[string]any, path string)
	visit = func(values, properties map[string]any, path string) {
		for key, value := range values {
			entry, there := properties[key].(map[string]any)
			if !there {
				t.Errorf("%s%s is not in the schema", path, key)
				continue
			}
			inner, closed := entry["properties"].(map[string]any)
			if object, is := value.(map[string]any); is && closed {
				if entry["additionalProperties"] != false {
					t.Errorf("%s%s allows unknown values", path, key)
				}
				visit(object, inner, path+key+".")
			}
		}
	}
	visit(load(t, chart+"/values.yaml"), get(t, schema, "properties").(map[string]any), "")
	if schema["additionalProperties"] != false {
		t.Error("the schema allows unknown values")
	}
}
