package node

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"brink/node/internal/semantics"
	"brink/node/internal/serve"
)

// metrics are the metrics for Prometheus. Labels are bounded: routes, classes of status, codings.
type metrics struct {
	registry *prometheus.Registry
	byRoute  *prometheus.CounterVec
	timed    *prometheus.HistogramVec
	requests [][6]prometheus.Counter // by route and class of status, looked up once
	duration []prometheus.Observer   // by route
	active   prometheus.Gauge
	panics   prometheus.Counter
	garbled  prometheus.Counter
	patches  *prometheus.CounterVec
	builds   *prometheus.HistogramVec
}

func newMetrics(n *Node) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "brink_http_requests_total", Help: "Requests answered, by route and class of status.",
	}, []string{"route", "class"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "brink_http_handler_seconds", Help: "Time until the answer was ready to be sent, by route.",
		Buckets: prometheus.ExponentialBuckets(25e-6, 4, 10), // 25 microseconds to 6.5 seconds
	}, []string{"route"})
	m.active = prometheus.NewGauge(
		prometheus.GaugeOpts{Name: "brink_http_handlers_active", Help: "Requests in a handler now."},
	)
	m.panics = prometheus.NewCounter(
		prometheus.CounterOpts{
			Name: "brink_panics_total", Help: "Requests and background work that hit an error of the program.",
		},
	)
	m.garbled = prometheus.NewCounter(
		prometheus.CounterOpts{Name: "brink_http_malformed_total", Help: "Requests that could not be read."},
	)
	m.patches = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "brink_patch_requests_total",
		Help: "Archives and files asked for with a known dictionary, by whether there was a patch.",
	}, []string{"result"})
	m.builds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "brink_representation_build_seconds", Help: "Time to build a representation, by coding.",
		Buckets: prometheus.ExponentialBuckets(0.01, 4, 8), // 10 milliseconds to 160 seconds
	}, []string{"coding"})
	m.registry.MustRegister(
		requests,
		duration,
		m.active,
		m.panics,
		m.garbled,
		m.patches,
		m.builds,
		collector(n.collect),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	m.byRoute, m.timed = requests, duration
	return m
}

// label creates the metrics of all routes, indexed by label.
func (m *metrics) label(names []string) {
	for _, route := range names {
		var classes [6]prometheus.Counter
		for class := range classes {
			classes[class] = m.byRoute.WithLabelValues(route, strconv.Itoa(class)+"xx")
		}
		m.requests = append(m.requests, classes)
		m.duration = append(m.duration, m.timed.WithLabelValues(route))
	}
}

func (m *metrics) started() { m.active.Inc() }

func (m *metrics) finished(route serve.Label, status int, took time.Duration) {
	m.active.Dec()
	m.requests[route][min(status/100, 5)].Inc()
	m.duration[route].Observe(took.Seconds())
}

func (m *metrics) panicked()  { m.panics.Inc() }
func (m *metrics) malformed() { m.garbled.Inc() }

// PatchAsked counts a request with a known dictionary.
func (m *metrics) PatchAsked(hit bool) {
	result := "miss"
	if hit {
		result = "hit"
	}
	m.patches.WithLabelValues(result).Inc()
}

func (m *metrics) built(coding semantics.Coding, took time.Duration) {
	m.builds.WithLabelValues(coding.String()).Observe(took.Seconds())
}

// collector reads the counts of other parts when Prometheus scrapes.
type collector func(out chan<- prometheus.Metric)

// Describe implements [prometheus.Collector]. It describes nothing, which makes the collector unchecked.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c collector) Collect(out chan<- prometheus.Metric) { c(out) }

// collect sends the metrics of the parts of the node.
func (n *Node) collect(out chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, value float64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), kind, value)
	}
	gauge := func(name, help string, value float64) { send(prometheus.GaugeValue, name, help, value) }
	counter := func(name, help string, value float64) { send(prometheus.CounterValue, name, help, value) }
	ready := 0.0
	if n.health.check().Ready {
		ready = 1
	}
	gauge("brink_ready", "1 if the node is ready for requests.", ready)
	channels, _ := n.state.Count()
	gauge("brink_channels", "Channels in force.", float64(channels))
	gauge("brink_expiring", "Manifests and trust documents that expire soon or have expired.", float64(n.endings.Count()))
	if cache := n.hot.Metrics(); cache != nil {
		counter("brink_hot_hits_total", "Representations found in RAM.", float64(cache.Hits()))
		counter("brink_hot_misses_total", "Representations not found in RAM.", float64(cache.Misses()))
		gauge(
			"brink_hot_bytes",
			"Bytes of representations in RAM.",
			float64(cache.CostAdded()-cache.CostEvicted()),
		)
		stats := n.hot.Stats()
		gauge("brink_hot_left_bytes", "Bytes evicted from the hot set that are still being sent.", float64(stats.Evicted))
		counter("brink_hot_cut_total", "Answers cut to free what the hot set had evicted.", float64(stats.Cut))
	}
	n.fleetMetrics(gauge, counter)
	conns := n.listener.Stats()
	gauge("brink_connections_open", "Connections open.", float64(conns.Open))
	gauge("brink_connections_most", "Limit of open connections, 0: none.", float64(n.listener.Limit()))
	counter("brink_connections_displaced_total", "Idle connections closed to make room for new ones.",
		float64(conns.Displaced))
	counter("brink_connections_accepted_total", "Connections accepted.", float64(conns.Accepted))
	counter("brink_connections_idle_total", "Connections closed because no request arrived.", float64(conns.Idle))
	counter("brink_connections_stalled_total", "Connections closed because the peer stalled.", float64(conns.Stalled))
	counter("brink_connections_slow_total", "Connections closed below the minimum rate.", float64(conns.Slow))
	stats, err := n.store.Stats()
	if err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewDesc("brink_store", "The store's figures.", nil, nil), err)
		return
	}
	gauge("brink_store_bundles", "Bundles in the store.", float64(stats.Bundles))
	gauge("brink_store_derived", "Representations in the store.", float64(stats.Derived))
	gauge("brink_store_blobs", "Blobs in the store.", float64(stats.Blobs))
	gauge("brink_store_bytes", "Bytes that count against the quota.", float64(stats.Stored))
	gauge("brink_store_reserved_bytes", "Bytes reserved for uploads.", float64(stats.Reserved))
	gauge("brink_store_quota_bytes", "The quota.", float64(stats.Quota))
	gauge("brink_store_disk_bytes", "Bytes that the data folder takes on the disk.", float64(stats.Disk))
	gauge("brink_disk_free_bytes", "Free bytes on the disk.", float64(stats.Free))
	readOnly := 0.0
	if stats.ReadOnly != "" {
		readOnly = 1
	}
	gauge("brink_store_read_only", "1 while the store is read-only.", readOnly)
	poisoned := 0.0
	if stats.Poisoned {
		poisoned = 1
	}
	gauge("brink_store_poisoned", "1 when no disk space can be freed before a restart.", poisoned)
	counter("brink_store_damaged_total", "Blobs found damaged and set aside.", float64(stats.Damaged))
	counter("brink_store_bad_records_total", "Records found damaged.", float64(stats.BadRecords))
	counter("brink_store_evicted_bundles_total", "Bundles evicted.", float64(stats.EvictedBundles))
	counter("brink_store_evicted_derived_total", "Representations evicted.", float64(stats.EvictedDerived))
	counter("brink_store_evicted_bytes_total", "Bytes evicted.", float64(stats.EvictedBytes))
}
