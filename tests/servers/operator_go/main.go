// Prints what the Prometheus operator makes of custom resources, and its rules of targets: the expected values of the
// conversion's tests. Reads {"prometheus": PrometheusSpec, "resources": [...], "secrets": [...], "configMaps": [...],
// "targets": [{label: value}]}; writes {"configs": YAML text, "labels": {job: [labels or null]}}.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	yaml "go.yaml.in/yaml/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	monitoringv1alpha1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
	"github.com/prometheus-operator/prometheus-operator/pkg/assets"
	"github.com/prometheus-operator/prometheus-operator/pkg/prometheus"
)

type given struct {
	Prometheus monitoringv1.PrometheusSpec `json:"prometheus"`
	Resources  []json.RawMessage           `json:"resources"`
	Secrets    []*corev1.Secret            `json:"secrets"`
	ConfigMaps []*corev1.ConfigMap         `json:"configMaps"`
	Targets    []map[string]string         `json:"targets"`
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func decode[T any](raw json.RawMessage, into map[string]*T, key string) {
	out := new(T)
	must(json.Unmarshal(raw, out))
	into[key] = out
}

func main() {
	var in given
	must(json.NewDecoder(os.Stdin).Decode(&in))
	objects := []any{}
	for _, s := range in.Secrets {
		objects = append(objects, s)
	}
	for _, c := range in.ConfigMaps {
		objects = append(objects, c)
	}
	services := map[string]*monitoringv1.ServiceMonitor{}
	pods := map[string]*monitoringv1.PodMonitor{}
	probes := map[string]*monitoringv1.Probe{}
	configs := map[string]*monitoringv1alpha1.ScrapeConfig{}
	for _, raw := range in.Resources {
		var meta metav1.PartialObjectMetadata
		must(json.Unmarshal(raw, &meta))
		key := meta.Namespace + "/" + meta.Name
		switch meta.Kind {
		case "ServiceMonitor":
			decode(raw, services, key)
		case "PodMonitor":
			decode(raw, pods, key)
		case "Probe":
			decode(raw, probes, key)
		case "ScrapeConfig":
			decode(raw, configs, key)
		default:
			panic("unknown kind " + meta.Kind)
		}
	}
	p := &monitoringv1.Prometheus{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "main"}, Spec: in.Prometheus}
	if p.Spec.ScrapeInterval == "" {
		p.Spec.ScrapeInterval = "1m"
	}
	if p.Spec.EvaluationInterval == "" {
		p.Spec.EvaluationInterval = "1m"
	}
	generator, err := prometheus.NewConfigGenerator(nil, p, prometheus.WithEndpointSliceSupport(), prometheus.WithInlineTLSConfig())
	must(err)
	text, err := generator.GenerateServerConfiguration(
		p, services, pods, probes, configs, assets.NewTestStoreBuilder(objects...), nil, nil, nil, nil)
	must(err)
	// What the operator's config reloader does in the first shard of one.
	text = bytes.ReplaceAll(text, []byte("$(SHARD)"), []byte("0"))
	var whole struct {
		ScrapeConfigs []map[string]any `yaml:"scrape_configs"`
	}
	must(yaml.Unmarshal(text, &whole))
	only, err := yaml.Marshal(map[string]any{"scrape_configs": whole.ScrapeConfigs})
	must(err)
	out := map[string][]map[string]string{}
	for _, one := range whole.ScrapeConfigs {
		name := one["job_name"].(string)
		rules, err := yaml.Marshal(one["relabel_configs"])
		must(err)
		var parsed []*relabel.Config
		must(yaml.UnmarshalStrict(rules, &parsed))
		for _, rule := range parsed {
			rule.NameValidationScheme = model.UTF8Validation
		}
		out[name] = []map[string]string{}
		for _, target := range in.Targets {
			start := map[string]string{"job": name}
			for k, v := range target {
				start[k] = v
			}
			builder := labels.NewBuilder(labels.FromMap(start))
			if !relabel.ProcessBuilder(builder, parsed...) {
				out[name] = append(out[name], nil)
				continue
			}
			builder.Del("__tmp_hash")
			out[name] = append(out[name], builder.Labels().Map())
		}
	}
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{"configs": string(only), "labels": out}))
	fmt.Fprintln(os.Stderr, len(whole.ScrapeConfigs), "jobs")
}
