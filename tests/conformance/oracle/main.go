// Oracle records what the kubelet's CPU, memory and topology managers decide.
//
// It reads files of decision vectors (tests/data/vectors), runs the managers of the Kubernetes release that go.mod
// names on the inputs of every line, and either says where the recorded expectations differ from what the managers do
// now (-check) or writes the files anew.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

const usage = `usage: oracle [-check] [-only REGEX] [-limit N] FILE…

Runs the kubelet's managers on the vectors of each FILE (.jsonl or .jsonl.gz) and writes what they decided into its
"expect" fields, which may be missing before. A file in which nothing but times would change is left as it is.
Exit code: 0 done, or with -check nothing differs; 1 something differs; 2 bad input, or the managers failed.

`

func main() {
	check := flag.Bool("check", false, "write nothing; print what differs from the recorded expectations")
	only := flag.String("only", "", "run only the vectors whose name matches this regular `expression`")
	limit := flag.Int("limit", 0, "run only the first `N` (of the matching) vectors of each file; 0: all")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fail(fmt.Errorf("-only: %w", err))
	}
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}

	klog.SetLogger(logr.Discard())
	reference, err := newReference()
	if err != nil {
		fail(err)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		reference.close()
		os.Exit(130)
	}()

	code := 0
	for _, path := range flag.Args() {
		result, err := runFile(path, selection{pattern, *limit}, reference)
		if err != nil {
			reference.close()
			fail(fmt.Errorf("%s: %w", path, err))
		}
		result.print(os.Stdout)
		switch {
		case result.failed > 0:
			code = 2
		case *check && result.differing > 0:
			code = max(code, 1)
		}
		if !*check && result.differing > 0 {
			if err := result.save(); err != nil {
				reference.close()
				fail(fmt.Errorf("%s: %w", path, err))
			}
			fmt.Printf("%s: written\n", path)
		}
	}
	reference.close()
	os.Exit(code)
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "oracle: %v\n", err)
	os.Exit(2)
}
