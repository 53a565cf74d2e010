// Package chart checks helm/podfence: what the real helm renders for the values of cases/*.yaml is decoded strictly into
// the API's own Go types (an unknown field is an error) and held against what the case expects.
package chart

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	k8syaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const chart = "../../helm/podfence"

// What the chart may render; anything else is a mistake.
var types = map[string]func() any{
	"apps/v1/DaemonSet":                               func() any { return &apps.DaemonSet{} },
	"v1/ConfigMap":                                    func() any { return &core.ConfigMap{} },
	"v1/Service":                                      func() any { return &core.Service{} },
	"v1/ServiceAccount":                               func() any { return &core.ServiceAccount{} },
	"networking.k8s.io/v1/NetworkPolicy":              func() any { return &networking.NetworkPolicy{} },
	"rbac.authorization.k8s.io/v1/ClusterRole":        func() any { return &rbac.ClusterRole{} },
	"rbac.authorization.k8s.io/v1/ClusterRoleBinding": func() any { return &rbac.ClusterRoleBinding{} },
	"monitoring.coreos.com/v1/ServiceMonitor":         func() any { return &monitoring.ServiceMonitor{} },
	"monitoring.coreos.com/v1/PodMonitor":             func() any { return &monitoring.PodMonitor{} },
	"monitoring.coreos.com/v1/PrometheusRule":         func() any { return &monitoring.PrometheusRule{} },
}

// A case: values in, and what must come of them.
type testCase struct {
	Name        string         `json:"name"`
	Values      map[string]any `json:"values"`
	KubeVersion string         `json:"kubeVersion"` // default 1.37.2
	Fails       string         `json:"fails"`       // regular expression of helm's message
	Kinds       []string       `json:"kinds"`       // exactly these kinds, sorted as they come
	Expect      []expectation  `json:"expect"`
}

type expectation struct {
	Kind     string `json:"kind"`
	Path     string `json:"path"`     // a.b[0].c, a[name=x].b, labels["with.dots"]
	Equals   any    `json:"equals"`   // deep
	Contains any    `json:"contains"` // a list has it, or a text contains it
	Lacks    any    `json:"lacks"`    // the opposite
	Absent   bool   `json:"absent"`
	Length   *int   `json:"length"`
}

// helm runs it with input on its standard input, and gives what it printed; on failure its complaint.
func helm(t *testing.T, input []byte, arguments ...string) (string, error) {
	t.Helper()
	program := os.Getenv("PODFENCE_HELM")
	if program == "" {
		t.Fatal("PODFENCE_HELM is not set: run tests/helm/run, which has helm built")
	}
	var out, errors bytes.Buffer
	command := exec.Command(program, arguments...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &out, &errors
	if err := command.Run(); err != nil {
		return errors.String() + out.String(), err
	}
	return out.String(), nil
}

func render(t *testing.T, c testCase) (string, error) {
	t.Helper()
	values, err := yaml.Marshal(c.Values)
	if err != nil {
		t.Fatal(err)
	}
	version := c.KubeVersion
	if version == "" {
		version = "1.37.2"
	}
	return helm(t, values, "template", "fence", chart, "--namespace", "podfence-system", "--kube-version", version,
		"-f", "-")
}

// decode splits rendered text into documents, each checked against its type.
func decode(t *testing.T, text string) []map[string]any {
	t.Helper()
	var documents []map[string]any
	reader := k8syaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		raw, err := reader.Read()
		if err == io.EOF {
			return documents
		}
		if err != nil {
			t.Fatal(err)
		}
		var document map[string]any
		if err := yaml.UnmarshalStrict(raw, &document); err != nil {
			t.Fatalf("%v in\n%s", err, raw)
		}
		if len(document) == 0 {
			continue
		}
		key := fmt.Sprintf("%v/%v", document["apiVersion"], document["kind"])
		newObject, known := types[key]
		if !known {
			t.Fatalf("rendered an object of type %s, of which nothing is known", key)
		}
		if err := yaml.UnmarshalStrict(raw, newObject()); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		documents = append(documents, document)
	}
}

func TestLint(t *testing.T) {
	if out, err := helm(t, nil, "lint", "--strict", chart); err != nil {
		t.Error(out)
	}
}

func TestCases(t *testing.T) {
	files, err := filepath.Glob("cases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases []testCase
		if err := yaml.UnmarshalStrict(raw, &cases); err != nil {
			t.Fatal(file, err)
		}
		for _, c := range cases {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml")+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				run(t, c)
			})
		}
	}
}

func run(t *testing.T, c testCase) {
	text, err := render(t, c)
	if c.Fails != "" {
		if err == nil {
			t.Fatal("it rendered, and should have been refused")
		}
		if !regexp.MustCompile(c.Fails).MatchString(text) {
			t.Fatalf("refused, but not with %q:\n%s", c.Fails, text)
		}
		return
	}
	if err != nil {
		t.Fatal(text)
	}
	if len(c.Expect) == 0 && len(c.Kinds) == 0 {
		t.Error("the case expects nothing")
	}
	documents := decode(t, text)
	if len(c.Kinds) > 0 {
		checkKinds(t, documents, c.Kinds)
	}
	for _, e := range c.Expect {
		check(t, documents, e)
	}
}
