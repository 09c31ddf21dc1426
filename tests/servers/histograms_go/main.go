// A target with every kind of metric that client_golang has, for tests.
//
// GET /metrics is the page; GET /observe adds two observations to each, GET /reset takes all series of the
// vectors away. POST /convert answers with the protobuf of a text page.
package main

import (
	"flag"
	"log"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

type metrics struct {
	counter *prometheus.CounterVec
	gauge   prometheus.Gauge
	dotted  *prometheus.GaugeVec
	classic prometheus.Histogram
	both    *prometheus.HistogramVec
	native  *prometheus.HistogramVec
	summary prometheus.Summary
}

func newMetrics(registry *prometheus.Registry) *metrics {
	m := &metrics{
		counter: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "requests_total", Help: "Requests.\nAll of them.",
		}, []string{"code", "path"}),
		gauge: prometheus.NewGauge(prometheus.GaugeOpts{Name: "temperature_celsius", Help: "How warm it is."}),
		dotted: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "http.server.active", Help: "A name in UTF-8.",
		}, []string{"http.route"}),
		classic: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "classic_seconds", Help: "Classic only.", Buckets: []float64{0.5, 1, 5},
		}),
		both: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "both_seconds", Help: "Classic and native.", Buckets: []float64{0.1, 1, 10},
			NativeHistogramBucketFactor: 1.1,
		}, []string{"path"}),
		native: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "native_seconds", Help: "Native only.", NativeHistogramBucketFactor: 1.02,
		}, []string{"path"}),
		summary: prometheus.NewSummary(prometheus.SummaryOpts{
			Name: "summary_seconds", Help: "A summary.", Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01},
		}),
	}
	registry.MustRegister(m.counter, m.gauge, m.dotted, m.classic, m.both, m.native, m.summary)
	return m
}

func (m *metrics) observe(value float64) {
	trace := prometheus.Labels{"trace_id": "4bf92f3577b34da6"}
	m.counter.WithLabelValues("200", "/").(prometheus.ExemplarAdder).AddWithExemplar(value, trace)
	m.gauge.Set(value)
	m.dotted.WithLabelValues("/x").Set(value)
	m.classic.(prometheus.ExemplarObserver).ObserveWithExemplar(value, trace)
	m.both.WithLabelValues("/").(prometheus.ExemplarObserver).ObserveWithExemplar(value, trace)
	m.native.WithLabelValues("/").(prometheus.ExemplarObserver).ObserveWithExemplar(value, trace)
	m.native.WithLabelValues("/signed").Observe(-value)
	m.native.WithLabelValues("/signed").Observe(0)
	m.summary.Observe(value)
}

func convert(w http.ResponseWriter, r *http.Request) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	encoder := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeProtoDelim).WithEscapingScheme(model.NoEscaping))
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			log.Fatal(err)
		}
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	flag.Parse()
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	for i := 1; i <= 300; i++ {
		m.observe(float64(i) / 17)
	}
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	http.HandleFunc("/observe", func(http.ResponseWriter, *http.Request) { m.observe(1.5); m.observe(70) })
	http.HandleFunc("/reset", func(http.ResponseWriter, *http.Request) {
		m.counter.Reset()
		m.both.Reset()
		m.native.Reset()
	})
	http.HandleFunc("/convert", convert)
	log.Fatal(http.ListenAndServe(*listen, nil))
}
