// The NRI side of a container runtime, as containerd and CRI-O have it (pkg/adaptation), without containers: it listens
// for plugins and relays to them what it reads, one event a line, "CreateContainer {request as JSON}". For each it
// prints one line, {"reply": …} or {"error": "…"}; {"synced": N} with the updates asked for when a plugin has
// registered, and {"update": […]} for an update that a plugin asks for by itself.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	validator "github.com/containerd/nri/plugins/default-validator/builtin"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

var printing sync.Mutex

func say(key string, value any) {
	line, err := json.Marshal(map[string]any{key: value})
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(line))
}

func asJSON(message proto.Message) json.RawMessage {
	text, err := protojson.Marshal(message)
	if err != nil {
		panic(err)
	}
	return text
}

func updatesJSON(updates []*api.ContainerUpdate) []json.RawMessage {
	all := []json.RawMessage{}
	for _, update := range updates {
		all = append(all, asJSON(update))
	}
	return all
}

// relay reads the request and hands it to the adaptation's method for it.
func relay[Request proto.Message](text string, request Request, method func(context.Context, Request) (proto.Message, error)) {
	if err := protojson.Unmarshal([]byte(text), request); err != nil {
		panic(err)
	}
	reply, err := method(context.Background(), request)
	switch {
	case err != nil:
		say("error", err.Error())
	case reply == nil:
		say("reply", struct{}{})
	default:
		say("reply", asJSON(reply))
	}
}

// told is a method that answers with no more than an error.
func told[Request proto.Message](method func(context.Context, Request) error) func(context.Context, Request) (proto.Message, error) {
	return func(ctx context.Context, request Request) (proto.Message, error) { return nil, method(ctx, request) }
}

// answered is a method that answers with a message.
func answered[Request, Reply proto.Message](method func(context.Context, Request) (Reply, error)) func(context.Context, Request) (proto.Message, error) {
	return func(ctx context.Context, request Request) (proto.Message, error) {
		reply, err := method(ctx, request)
		return reply, err
	}
}

func handle(r *adaptation.Adaptation, event, text string) error {
	// As containerd does it: no plugin registers meanwhile, and one that does so now is waited for.
	block := r.BlockPluginSync()
	defer block.Unblock()
	switch event {
	case "RunPodSandbox":
		relay(text, &api.RunPodSandboxRequest{}, told(r.RunPodSandbox))
	case "UpdatePodSandbox":
		relay(text, &api.UpdatePodSandboxRequest{}, answered(r.UpdatePodSandbox))
	case "PostUpdatePodSandbox":
		relay(text, &api.PostUpdatePodSandboxRequest{}, told(r.PostUpdatePodSandbox))
	case "StopPodSandbox":
		relay(text, &api.StopPodSandboxRequest{}, told(r.StopPodSandbox))
	case "RemovePodSandbox":
		relay(text, &api.RemovePodSandboxRequest{}, told(r.RemovePodSandbox))
	case "CreateContainer":
		relay(text, &api.CreateContainerRequest{}, answered(r.CreateContainer))
	case "PostCreateContainer":
		relay(text, &api.PostCreateContainerRequest{}, told(r.PostCreateContainer))
	case "StartContainer":
		relay(text, &api.StartContainerRequest{}, told(r.StartContainer))
	case "PostStartContainer":
		relay(text, &api.PostStartContainerRequest{}, told(r.PostStartContainer))
	case "UpdateContainer":
		relay(text, &api.UpdateContainerRequest{}, answered(r.UpdateContainer))
	case "PostUpdateContainer":
		relay(text, &api.PostUpdateContainerRequest{}, told(r.PostUpdateContainer))
	case "StopContainer":
		relay(text, &api.StopContainerRequest{}, answered(r.StopContainer))
	case "RemoveContainer":
		relay(text, &api.RemoveContainerRequest{}, told(r.RemoveContainer))
	default:
		return fmt.Errorf("%s is no event", event)
	}
	return nil
}

// population is what lives in the runtime when a plugin registers.
func population(pods, annotation int) ([]*api.PodSandbox, []*api.Container) {
	var sandboxes []*api.PodSandbox
	var containers []*api.Container
	for i := range pods {
		id := fmt.Sprintf("sandbox-%d", i)
		sandboxes = append(sandboxes, &api.PodSandbox{
			Id:          id,
			Uid:         fmt.Sprintf("uid-%d", i),
			Annotations: map[string]string{"filler": strings.Repeat("x", annotation)},
		})
		containers = append(containers, &api.Container{
			Id:           fmt.Sprintf("container-%d", i),
			PodSandboxId: id,
			Name:         "app",
			State:        api.ContainerState_CONTAINER_RUNNING,
		})
	}
	return sandboxes, containers
}

func run() error {
	socket := flag.String("socket", "", "where to listen")
	runtime := flag.String("runtime", "containerd", "the runtime's name")
	version := flag.String("version", "v2.4.2", "the runtime's version")
	timeout := flag.Duration("timeout", 2*time.Second, "for a plugin's answer")
	pods := flag.Int("pods", 1, "that run when a plugin registers, with a container each")
	annotation := flag.Int("annotation", 0, "bytes of annotations of each")
	required := flag.String("required", "", "the plugin that every container needs")
	flag.Parse()

	adaptation.SetPluginRequestTimeout(*timeout)
	starting := true
	synchronize := func(ctx context.Context, call adaptation.SyncCB) error {
		if starting { // for the plugins that a runtime launches itself; there are none
			starting = false
			_, err := call(ctx, nil, nil)
			return err
		}
		sandboxes, containers := population(*pods, *annotation)
		updates, err := call(ctx, sandboxes, containers)
		if err != nil {
			say("error", err.Error())
			return err
		}
		say("synced", updatesJSON(updates))
		return nil
	}
	update := func(_ context.Context, updates []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) {
		say("update", updatesJSON(updates))
		var failed []*api.ContainerUpdate
		for _, update := range updates {
			if update.GetContainerId() == "refused" {
				return nil, errors.New("the runtime cannot")
			}
			if strings.HasPrefix(update.GetContainerId(), "failing") {
				failed = append(failed, update)
			}
		}
		return failed, nil
	}
	options := []adaptation.Option{
		adaptation.WithSocketPath(*socket),
		adaptation.WithPluginPath(*socket + ".plugins"),
		adaptation.WithPluginConfigPath(*socket + ".conf"),
	}
	if *required != "" {
		options = append(options, adaptation.WithDefaultValidator(&validator.DefaultValidatorConfig{
			Enable:                    true,
			RequiredPlugins:           []string{*required},
			TolerateMissingAnnotation: "tolerate-missing-plugins",
		}))
	}
	r, err := adaptation.New(*runtime, *version, synchronize, update, options...)
	if err != nil {
		return err
	}
	if err := r.Start(); err != nil {
		return err
	}
	say("listening", *socket)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		event, request, _ := strings.Cut(lines.Text(), " ")
		if err := handle(r, event, request); err != nil {
			return err
		}
	}
	return lines.Err()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "runtime:", err)
		os.Exit(1)
	}
}
