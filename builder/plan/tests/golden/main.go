// Command golden fills in what BuildKit's Dockerfile frontend makes of the cases of ../it/golden.json.
// See README.md beside it for how to run it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"os"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

type testCase struct {
	Args       map[string]string `json:"args"`
	Base       any               `json:"base"`
	Config     map[string]any    `json:"config"`
	Dockerfile string            `json:"dockerfile"`
	Target     string            `json:"target"`
}

// base answers for every image with the config of the case.
type base []byte

func (b base) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, "", b, nil
}

func main() {
	var cases map[string]*testCase
	check(json.NewDecoder(os.Stdin).Decode(&cases))
	for name, c := range cases {
		if err := c.fill(); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	check(encoder.Encode(cases))
	_, err := io.Copy(os.Stdout, &out)
	check(err)
}

func (c *testCase) fill() error {
	config, err := json.Marshal(c.Base)
	if err != nil {
		return err
	}
	args := map[string]string{}
	for name, value := range c.Args {
		args[name] = value
	}
	result, err := dockerfile2llb.Dockerfile2LLB(context.Background(), []byte(c.Dockerfile), dockerfile2llb.ConvertOpt{
		Config:         dockerui.Config{BuildArgs: args, Target: c.Target},
		TargetPlatform: &ocispecs.Platform{OS: "linux", Architecture: "amd64"},
		MetaResolver:   base(config),
		Warn:           func(string, string, string, string, []parser.Range) {},
	})
	if err != nil {
		return err
	}
	image, err := json.Marshal(result.Image)
	if err != nil {
		return err
	}
	c.Config = nil
	if err := json.Unmarshal(image, &c.Config); err != nil {
		return err
	}
	delete(c.Config, "created")
	if rootfs := c.Config["rootfs"].(map[string]any); rootfs["diff_ids"] == nil {
		rootfs["diff_ids"] = []string{}
	}
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
