package brink_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// The examples in deploy are held to this: their YAML can be read, and each line that starts a node, with the settings
// and the environment that it would have, is one that the program takes. No container and no systemd runs here.

// etc is where all examples have their settings and trust document.
const etc = "/etc/brink/"

// started is how an example starts a node.
type started struct {
	name     string
	args     []string // after the program's name
	env      []string
	settings string // the file /etc/brink/brink.yaml
}

func TestDeploy_EveryNodeStartsWithSettingsThatServeTakes(t *testing.T) {
	program := filepath.Join(t.TempDir(), "brink")
	runProgram(t, nil, "go", "build", "-o", program, "./cmd/brink")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	runProgram(t, nil, program, "key", "new", at("root.key"))
	runProgram(t, nil, program, "org", "new", "acme", "--root", at("root.key"), "--publisher", at("root.key.pub"),
		"--apps", "com.acme.*", "--out", at("acme.trust.json"))

	all := append(composed(t, "deploy/compose"), unit(t, "deploy/systemd"), pod(t, "deploy/kubernetes/brink.yaml"))
	if len(all) != 5 {
		t.Errorf("deploy starts %d nodes, want three regions, a unit and a pod", len(all))
	}
	for _, one := range all {
		t.Run(one.name, func(t *testing.T) {
			if len(one.args) == 0 || one.args[0] != "serve" {
				t.Fatalf("it starts brink %q, which is no node", one.args)
			}
			here := strings.NewReplacer(etc, dir+"/")
			if err := os.WriteFile(at("brink.yaml"), []byte(here.Replace(one.settings)), 0o600); err != nil {
				t.Fatal(err)
			}
			args, env := []string{"config", "check", "--json"}, []string{}
			for _, arg := range one.args[1:] {
				args = append(args, here.Replace(arg))
			}
			for _, pair := range one.env {
				env = append(env, here.Replace(pair))
			}
			var said struct {
				Settings []struct{ Name, Value string }
			}
			if err := json.Unmarshal([]byte(runProgram(t, env, program, args...)), &said); err != nil {
				t.Fatal(err)
			}
			values := map[string]string{}
			for _, setting := range said.Settings {
				values[setting.Name] = setting.Value
			}
			for name, want := range map[string]string{
				"fleet": "acme-prod", "fleet-key": "/fleet.key", "region": "", "join": ":7946", "origin": "s3://acme-ota/prod",
				"trust": "/acme.trust.json", "admin": ":9090",
			} {
				if value := values[name]; value == "" || !strings.Contains(value, want) {
					t.Errorf("--%s is %q, want something with %q", name, value, want)
				}
			}
		})
	}
}

func TestDeploy_AllYAMLCanBeRead(t *testing.T) {
	files := 0
	err := filepath.WalkDir("deploy", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".yaml" {
			return err
		}
		files++
		for i, document := range documents(t, name) {
			if len(document) == 0 {
				t.Errorf("%s: document %d is empty", name, i)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}

// A pod that is told to end must be able to: what stops it waits for all that the node waits for.
func TestDeploy_WhoeverStopsANodeWaitsLongEnough(t *testing.T) {
	const leastSeconds = 5 + 5 + 30 // the defaults of --drain-wait and --finish-wait, and what leaving a fleet takes
	for _, one := range documents(t, "deploy/kubernetes/brink.yaml") {
		if one["kind"] != "StatefulSet" {
			continue
		}
		if grace, _ := down(one, "spec", "template", "spec")["terminationGracePeriodSeconds"].(int); grace < leastSeconds+15 {
			t.Errorf("terminationGracePeriodSeconds is %d", grace)
		}
		return
	}
	t.Error("there is no StatefulSet")
}

func runProgram(t *testing.T, env []string, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(pair string) bool {
		return strings.HasPrefix(pair, "BRINK_")
	}), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// documents reads a file of YAML documents, each a mapping.
func documents(t *testing.T, name string) []map[string]any {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	if err := yaml.Load(raw, &all, yaml.WithAllDocuments()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return all
}

// down goes down through mappings.
func down(from map[string]any, path ...string) map[string]any {
	for _, step := range path {
		from, _ = from[step].(map[string]any)
	}
	return from
}

// texts returns a list of texts.
func texts(list any) (all []string) {
	items, _ := list.([]any)
	for _, item := range items {
		if text, ok := item.(string); ok {
			all = append(all, text)
		}
	}
	return all
}

// composed returns the nodes of compose.yaml.
func composed(t *testing.T, dir string) (all []started) {
	t.Helper()
	settings, err := os.ReadFile(filepath.Join(dir, "brink.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	services := down(documents(t, filepath.Join(dir, "compose.yaml"))[0], "services")
	for name := range services {
		service := down(services, name)
		if service["image"] != "brink" {
			continue
		}
		one := started{name: name, args: texts(service["command"]), settings: string(settings)}
		for key, value := range down(service, "environment") {
			if text, ok := value.(string); ok && strings.HasPrefix(key, "BRINK_") {
				one.env = append(one.env, key+"="+text)
			}
		}
		all = append(all, one)
	}
	return all
}

// unit returns the node of the systemd unit.
func unit(t *testing.T, dir string) started {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "brink.service"))
	if err != nil {
		t.Fatal(err)
	}
	settings, err := os.ReadFile(filepath.Join(dir, "brink.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if command, ok := strings.CutPrefix(line, "ExecStart="); ok {
			return started{name: "systemd", args: strings.Fields(command)[1:], settings: string(settings)}
		}
	}
	t.Fatal("the unit starts nothing")
	return started{}
}

// pod returns the node of the StatefulSet.
func pod(t *testing.T, name string) started {
	t.Helper()
	one := started{name: "kubernetes"}
	for _, document := range documents(t, name) {
		switch document["kind"] {
		case "ConfigMap":
			one.settings, _ = down(document, "data")["brink.yaml"].(string)
		case "StatefulSet":
			list, _ := down(document, "spec", "template", "spec")["containers"].([]any)
			if len(list) != 1 {
				t.Fatalf("the pod has %d containers", len(list))
			}
			container, _ := list[0].(map[string]any)
			one.args = texts(container["args"])
			variables, _ := container["env"].([]any)
			for _, item := range variables {
				variable, _ := item.(map[string]any)
				key, _ := variable["name"].(string)
				value, given := variable["value"].(string)
				if !given {
					value = "brink-0" // the name of the pod
				}
				if strings.HasPrefix(key, "BRINK_") {
					one.env = append(one.env, key+"="+strings.ReplaceAll(value, "$(BRINK_NAME)", "brink-0"))
				}
			}
		}
	}
	return one
}
