// Command criload plays the kubelet to a container runtime, as far as measuring Podfence needs one: it tells of pods at
// /pods, makes their cgroups, and runs their containers through CRI. It starts and ends the agent itself, so that what
// is measured with it and without it alternates in one run.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	cgroups = "/sys/fs/cgroup"
	image   = "test.local/work:1"
)

var (
	socket = flag.String("runtime", "unix:///run/containerd/containerd.sock", "the runtime's CRI socket")
	config = flag.String("config", "", "configuration of the agent; its kubeletPodsURL is where --listen says")
	listen = flag.String("listen", "127.0.0.1:10255", "where /pods is told")
	agent  = flag.String("agent", "http://127.0.0.1:9551", "where the agent listens")
	count  = flag.Int("containers", 200, "containers made with the agent, and as many without it on each side; 0: none")
	batch  = flag.Int("batch", 20, "containers between two switches")
	many   = flag.Int("pods", 100, "pods that run when the agent's memory is measured; 0: do not")
)

// A pod as the kubelet tells of it and as its sandbox is run.
type pod struct{ name, uid, cpu string }

func (p pod) cgroup() string { return "/kubepods/pod" + p.uid }

func (p pod) object() map[string]any {
	resources := map[string]any{"cpu": p.cpu, "memory": "64Mi"}
	return map[string]any{
		"metadata": map[string]any{"name": p.name, "namespace": "bench", "uid": p.uid,
			"creationTimestamp": "2026-01-01T00:00:00Z"},
		"spec": map[string]any{"containers": []any{map[string]any{"name": "app", "image": image,
			"resources": map[string]any{"requests": resources, "limits": resources}}}},
		"status": map[string]any{"phase": "Running", "qosClass": "Guaranteed"},
	}
}

func (p pod) sandbox() *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: p.name, Uid: p.uid, Namespace: "bench"},
		LogDirectory: "/run/criload",
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: p.cgroup(),
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
			},
		},
	}
}

// What the kubelet does before it runs a sandbox.
func (p pod) makeCgroup() error {
	for _, folder := range []string{"", "/kubepods", p.cgroup()} {
		path := filepath.Join(cgroups, folder)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		control := filepath.Join(path, "cgroup.subtree_control")
		if err := os.WriteFile(control, []byte("+cpuset +cpu +memory +pids"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

type runtime struct {
	cri.RuntimeServiceClient
	ctx context.Context
}

func (r runtime) run(p pod) (string, error) {
	if err := p.makeCgroup(); err != nil {
		return "", err
	}
	// The pod source may be behind: the kubelet tries again too.
	for try := 0; ; try++ {
		reply, err := r.RunPodSandbox(r.ctx, &cri.RunPodSandboxRequest{Config: p.sandbox()})
		if err == nil {
			return reply.PodSandboxId, nil
		}
		if try == 30 {
			return "", fmt.Errorf("run the sandbox of %s: %w", p.name, err)
		}
		time.Sleep(time.Second)
	}
}

// Makes and starts a container, on one CPU where pinned, as the kubelet's own static policy asks for it; how long each
// took.
func (r runtime) start(sandbox string, p pod, attempt int, pinned bool) (id string, created, started time.Duration, err error) {
	resources := &cri.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: 100000, CpuShares: 1024}
	if pinned {
		resources.CpusetCpus = "1"
	}
	begin := time.Now()
	made, err := r.CreateContainer(r.ctx, &cri.CreateContainerRequest{
		PodSandboxId:  sandbox,
		SandboxConfig: p.sandbox(),
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "app", Attempt: uint32(attempt)},
			Image:    &cri.ImageSpec{Image: image},
			Command:  []string{"sleep", "1000000"},
			Labels:   map[string]string{"io.kubernetes.container.name": "app"},
			Linux: &cri.LinuxContainerConfig{
				Resources:       resources,
				SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}},
			},
		},
	})
	if err != nil {
		return "", 0, 0, fmt.Errorf("create: %w", err)
	}
	created = time.Since(begin)
	begin = time.Now()
	if _, err := r.StartContainer(r.ctx, &cri.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		return "", 0, 0, fmt.Errorf("start: %w", err)
	}
	return made.ContainerId, created, time.Since(begin), nil
}

func (r runtime) remove(id string) error {
	if _, err := r.StopContainer(r.ctx, &cri.StopContainerRequest{ContainerId: id}); err != nil {
		return err
	}
	_, err := r.RemoveContainer(r.ctx, &cri.RemoveContainerRequest{ContainerId: id})
	return err
}

func scrape() (string, error) {
	reply, err := http.Get(*agent + "/metrics")
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	return string(text), err
}

func startAgent() (*exec.Cmd, error) {
	log, err := os.OpenFile("/run/criload/agent.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command("podfence", "agent", "--config", *config)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return nil, err
	}
	for range 300 {
		if text, err := scrape(); err == nil && strings.Contains(text, "\npodfence_nri_connected 1") {
			return command, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	said, _ := os.ReadFile("/run/criload/agent.log")
	return nil, errors.New("the agent is not registered after 30 s:\n" + string(said))
}

func stopAgent(command *exec.Cmd) {
	command.Process.Signal(syscall.SIGTERM)
	command.Wait()
}

var bucket = regexp.MustCompile(`(?m)^podfence_nri_handler_duration_seconds_bucket\{handler="(\w+)",le="([^"]+)"\} (\d+)`)

// handlers: by handler and upper bound, how many answers took at most that long.
type handlers map[string]map[float64]int64

// add counts what a scrape says, n times: of the scrapes before and behind what is measured the one counts off.
func (h handlers) add(text string, n int64) {
	for _, match := range bucket.FindAllStringSubmatch(text, -1) {
		bound, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			continue
		}
		count, _ := strconv.ParseInt(match[3], 10, 64)
		if h[match[1]] == nil {
			h[match[1]] = map[float64]int64{}
		}
		h[match[1]][bound] += n * count
	}
}

func (h handlers) scrape(n int64) error {
	text, err := scrape()
	if err == nil {
		h.add(text, n)
	}
	return err
}

// bound: what so large a part of the answers did not exceed.
func (h handlers) bound(handler string, part float64) time.Duration {
	bounds := make([]float64, 0, len(h[handler]))
	for bound := range h[handler] {
		bounds = append(bounds, bound)
	}
	sort.Float64s(bounds)
	if len(bounds) == 0 {
		return 0
	}
	all := h[handler][bounds[len(bounds)-1]]
	for _, bound := range bounds {
		if float64(h[handler][bound]) >= part*float64(all) {
			return time.Duration(bound * float64(time.Second))
		}
	}
	return 0
}

type sample []time.Duration

func (s sample) part(part float64) time.Duration {
	sorted := append(sample{}, s...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i] < sorted[j] })
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }

// The sides of the comparison, in their turns.
const (
	without = iota
	pinned
	withAgent
	sides
)

func latency(r runtime, p pod) error {
	command, err := startAgent()
	if err != nil {
		return err
	}
	sandbox, err := r.run(p)
	if err != nil {
		return err
	}
	stopAgent(command)
	var created, started [sides]sample
	answers := handlers{}
	attempt, warm := 0, 1<<20
	for len(created[withAgent]) < *count {
		side := attempt / *batch % sides
		if side == withAgent {
			if command, err = startAgent(); err != nil {
				return err
			}
		}
		// The first after a switch is not measured, and may fail: the runtime notices only with it that the agent has
		// gone, and fails what that was to validate.
		for range 5 {
			id, _, _, err := r.start(sandbox, p, warm, side == pinned)
			warm--
			if err == nil {
				if err := r.remove(id); err != nil {
					return err
				}
				break
			}
		}
		if side == withAgent {
			if err := answers.scrape(-1); err != nil {
				return err
			}
		}
		for range *batch {
			id, create, start, err := r.start(sandbox, p, attempt, side == pinned)
			if err != nil {
				return err
			}
			created[side] = append(created[side], create)
			started[side] = append(started[side], start)
			if err := r.remove(id); err != nil {
				return err
			}
			attempt++
		}
		if side == withAgent {
			if err := answers.scrape(1); err != nil {
				return err
			}
			stopAgent(command)
		}
		fmt.Fprintf(os.Stderr, "criload: %d of %d containers\n", attempt, sides**count)
	}
	fmt.Printf("an exclusive container: %d without the agent, %d without it and on one CPU as the kubelet's static policy\n"+
		"asks for it, %d with the agent, in turns of %d; milliseconds\n",
		len(created[without]), len(created[pinned]), len(created[withAgent]), *batch)
	fmt.Printf("%-16s %9s %9s %9s %9s %9s %9s\n", "", "p50", "one CPU", "agent", "p99", "one CPU", "agent")
	for _, row := range []struct {
		name string
		of   [sides]sample
	}{{"CreateContainer", created}, {"StartContainer", started}} {
		fmt.Printf("%-16s", row.name)
		for _, part := range []float64{0.5, 0.99} {
			for _, side := range row.of {
				fmt.Printf(" %9s", ms(side.part(part)))
			}
		}
		fmt.Println()
	}
	for _, handler := range []string{"CreateContainer", "ValidateContainerAdjustment", "StartContainer"} {
		fmt.Printf("handler %-28s p50 <= %s ms, p99 <= %s ms\n", handler, ms(answers.bound(handler, 0.5)),
			ms(answers.bound(handler, 0.99)))
	}
	return nil
}

func memory(r runtime, pods []pod) error {
	command, err := startAgent()
	if err != nil {
		return err
	}
	defer stopAgent(command)
	for i, p := range pods {
		sandbox, err := r.run(p)
		if err != nil {
			return err
		}
		if _, _, _, err := r.start(sandbox, p, 0, false); err != nil {
			return err
		}
		if i%20 == 19 {
			fmt.Fprintf(os.Stderr, "criload: %d of %d pods\n", i+1, len(pods))
		}
	}
	if _, err := scrape(); err != nil {
		return err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", command.Process.Pid))
	if err != nil {
		return err
	}
	fmt.Printf("the agent with %d pods that it decided on:\n", len(pods))
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
			fmt.Println("  " + line)
		}
	}
	return nil
}

func run() error {
	flag.Parse()
	if err := os.MkdirAll("/run/criload", 0o700); err != nil {
		return err
	}
	exclusive := pod{"exclusive", "00000000-0000-0000-0000-000000000000", "1"}
	pods := []pod{exclusive}
	for i := range *many {
		pods = append(pods, pod{fmt.Sprintf("small-%d", i), fmt.Sprintf("00000000-0000-0000-0000-%012d", i+1), "100m"})
	}
	items := make([]any, 0, len(pods))
	for _, p := range pods {
		items = append(items, p.object())
	}
	list, err := json.Marshal(map[string]any{"kind": "PodList", "apiVersion": "v1", "items": items})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(list)
	}))
	connection, err := grpc.NewClient(*socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	r := runtime{cri.NewRuntimeServiceClient(connection), context.Background()}
	if *count > 0 {
		if err := latency(r, exclusive); err != nil {
			return err
		}
	}
	if *many == 0 {
		return nil
	}
	return memory(r, pods[1:])
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "criload:", err)
		os.Exit(1)
	}
}
