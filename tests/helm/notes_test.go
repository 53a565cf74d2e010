package chart

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func copyOfChart(t *testing.T) string {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	return copied
}

// notes gives what helm says after an installation. Only an installation in a cluster prints it, so that a copy of the
// chart has it in an object.
func notes(t *testing.T, values map[string]any) string {
	t.Helper()
	copied := copyOfChart(t)
	if err := os.Rename(copied+"/templates/NOTES.txt", copied+"/NOTES"); err != nil {
		t.Fatal(err)
	}
	const object = `notes: {{ tpl (.Files.Get "NOTES") . | quote }}`
	if err := os.WriteFile(copied+"/templates/notes.yaml", []byte(object), 0o644); err != nil {
		t.Fatal(err)
	}
	given, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	text, err := helm(t, given, "template", "fence", copied, "--namespace", "podfence-system", "--kube-version", "1.37.2",
		"-s", "templates/notes.yaml", "-f", "-")
	if err != nil {
		t.Fatal(text)
	}
	var shown struct {
		Notes string `json:"notes"`
	}
	if err := yaml.Unmarshal([]byte(text), &shown); err != nil {
		t.Fatal(err)
	}
	t.Log(shown.Notes)
	return shown.Notes
}

func TestNotes(t *testing.T) {
	for name, c := range map[string]struct {
		config       map[string]any
		says, silent []string
	}{
		"manage": {map[string]any{},
			[]string{"logs POD -c preflight", "static pods (etcd, kube-apiserver", `required_plugins = ["podfence"]`,
				"Before helm uninstall", "--set config.releaseOnExit=true", "rollout status daemonset/fence-podfence"}, nil},
		"the last run": {map[string]any{"releaseOnExit": true},
			[]string{"once all are ready, helm uninstall"}, []string{"--set config.releaseOnExit=true"}},
		// With the plugin demanded there, the runtime would create nothing.
		"audit": {map[string]any{"mode": "audit"},
			[]string{"must not demand it"}, []string{"default_validator", "uninstall"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := notes(t, map[string]any{"config": c.config})
			for _, part := range c.says {
				if !strings.Contains(text, part) {
					t.Errorf("%q is not in\n%s", part, text)
				}
			}
			for _, part := range c.silent {
				if strings.Contains(text, part) {
					t.Errorf("%q is in\n%s", part, text)
				}
			}
		})
	}
}

// As `helm package --version` makes it of a build between two releases.
func TestAVersionWithBuildMetadataMakesLabels(t *testing.T) {
	copied := copyOfChart(t)
	about := load(t, copied+"/Chart.yaml")
	about["version"], about["appVersion"] = "0.1.0+g1234567", "0.1.0+g1234567"
	raw, err := yaml.Marshal(about)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied+"/Chart.yaml", raw, 0o644); err != nil {
		t.Fatal(err)
	}
	text, err := helm(t, nil, "template", "fence", copied, "--kube-version", "1.37.2")
	if err != nil {
		t.Fatal(text)
	}
	for _, document := range decode(t, text) {
		for key, value := range get(t, document, "metadata.labels").(map[string]any) {
			if strings.Contains(value.(string), "+") {
				t.Errorf("%v: label %s: %s", document["kind"], key, value)
			}
		}
	}
}
