// Runs entries through promtail's own pipeline stages, for tests to compare with: a request a line of JSON on standard
// input, an answer a line on standard output. It also reads times by Go's layouts, as the timestamp stage does.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v2"

	"github.com/grafana/loki/v3/clients/pkg/logentry/stages"
	"github.com/grafana/loki/v3/pkg/logproto"

	"github.com/grafana/loki/v3/clients/pkg/promtail/api"
)

type entry struct {
	Labels   map[string]string `json:"labels"`
	Line     string            `json:"line"`
	Seconds  int64             `json:"seconds"`
	Nanos    int64             `json:"nanos"`
	Metadata map[string]string `json:"metadata"`
}

type request struct {
	Stages  string  `json:"stages"`
	Entries []entry `json:"entries"`
	Layout  string  `json:"layout"`
	Text    string  `json:"text"`
	Zone    string  `json:"zone"`
}

type answer struct {
	Entries []entry `json:"entries"`
	Error   string  `json:"error"`
	Seconds int64   `json:"seconds"`
	Nanos   int64   `json:"nanos"`
}

func run(asked request) (out answer) {
	defer func() {
		if trouble := recover(); trouble != nil {
			out = answer{Error: fmt.Sprint(trouble)}
		}
	}()
	if asked.Layout != "" {
		var at time.Time
		var err error
		if asked.Zone != "" {
			zone, zoneErr := time.LoadLocation(asked.Zone)
			if zoneErr != nil {
				return answer{Error: zoneErr.Error()}
			}
			at, err = time.ParseInLocation(asked.Layout, asked.Text, zone)
		} else {
			at, err = time.Parse(asked.Layout, asked.Text)
		}
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Seconds: at.Unix(), Nanos: int64(at.Nanosecond())}
	}
	var configured stages.PipelineStages
	if err := yaml.Unmarshal([]byte(asked.Stages), &configured); err != nil {
		return answer{Error: err.Error()}
	}
	job := "job"
	pipeline, err := stages.NewPipeline(log.NewNopLogger(), configured, &job, prometheus.NewRegistry())
	if err != nil {
		return answer{Error: err.Error()}
	}
	in := make(chan stages.Entry)
	came := pipeline.Run(in)
	go func() {
		for _, one := range asked.Entries {
			labels := model.LabelSet{}
			for name, value := range one.Labels {
				labels[model.LabelName(name)] = model.LabelValue(value)
			}
			in <- stages.Entry{
				Extracted: map[string]interface{}{},
				Entry: api.Entry{Labels: labels, Entry: logproto.Entry{
					Timestamp: time.Unix(one.Seconds, one.Nanos), Line: one.Line,
				}},
			}
		}
		close(in)
	}()
	out.Entries = []entry{}
	for one := range came {
		labels, metadata := map[string]string{}, map[string]string{}
		for name, value := range one.Labels {
			labels[string(name)] = string(value)
		}
		for _, pair := range one.StructuredMetadata {
			metadata[pair.Name] = pair.Value
		}
		out.Entries = append(out.Entries, entry{
			labels, one.Line, one.Timestamp.Unix(), int64(one.Timestamp.Nanosecond()), metadata,
		})
	}
	return out
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked request
		if err := json.Unmarshal(line, &asked); err != nil {
			panic(err)
		}
		if err := out.Encode(run(asked)); err != nil {
			panic(err)
		}
	}
}
