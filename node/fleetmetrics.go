package node

// fleetMetrics sends the metrics about other nodes and the origin.
func (n *Node) fleetMetrics(gauge, counter func(name, help string, value float64)) {
	fills, ahead := n.filler.Stats(), n.filler.Progress()
	counter("brink_fills_total", "Fetches of bundles that were started.", float64(fills.Fills))
	counter("brink_fills_failed_total", "Bundles that could not be fetched.", float64(fills.Failed))
	counter("brink_fills_joined_total", "Requests that waited for a bundle that was being fetched.",
		float64(fills.Joined))
	gauge("brink_fills_running", "Bundles that are being fetched.", float64(fills.Running))
	gauge("brink_fills_waiting", "Bundles that wait to be fetched before they are requested.", float64(ahead.Missing))
	var bytes, faults, stalls, errors int64
	for _, source := range fills.Sources {
		bytes, faults = bytes+source.Bytes, faults+source.Faults
		stalls, errors = stalls+source.Stalls, errors+source.Errors
	}
	counter("brink_fill_bytes_total", "Bytes of chunks that came from other nodes and the origin.", float64(bytes))
	counter("brink_fill_faults_total", "Wrong bytes from other nodes and the origin.", float64(faults))
	counter("brink_fill_stalls_total", "Sources that were given up because they stalled.", float64(stalls))
	counter("brink_fill_errors_total", "Requests to other nodes and the origin that failed otherwise.", float64(errors))
	counter("brink_healed_chunks_total", "Lost chunks that were fetched while a request waited.",
		float64(n.bundles.Healed()))
	if n.mirror != nil {
		gauge("brink_origin_amiss", "Reasons why the origin is not synchronised, see /readyz.",
			float64(len(n.mirror.Problems())))
	}
	if n.fleet == nil {
		return
	}
	stats := n.fleet.Stats()
	gauge("brink_fleet_members", "Nodes that are known to be alive, this one included.", float64(stats.Members))
	gauge("brink_fleet_health", "Health score of the node's gossip: 0 is best, 7 is worst.", float64(stats.Health))
	gauge("brink_fleet_wanted", "Channels and trust documents of which others have newer ones.", float64(stats.Wanted))
	gauge("brink_fleet_queued", "Announcements that wait to be sent.", float64(stats.Queued))
	counter("brink_fleet_lost_total", "Nodes that left or were declared dead.", float64(stats.Lost))
	counter("brink_fleet_conflicts_total", "Times that another node had this one's name.", float64(stats.Conflicts))
	counter("brink_fleet_dropped_total", "Messages that did not fit a queue.", float64(stats.Dropped))
	counter("brink_fleet_refused_total", "Messages that could not be read.", float64(stats.Refused))
	counter("brink_fleet_barred_total", "Packets and streams of strangers that were refused unread.",
		float64(stats.Barred))
	counter("brink_fleet_bytes_in_total", "Bytes of announcements and summaries that were received.",
		float64(stats.BytesIn))
	counter("brink_fleet_bytes_out_total", "Bytes of announcements and summaries that were sent.",
		float64(stats.BytesOut))
	counter("brink_fleet_faults_total", "Announcements of other nodes that could not be applied.",
		float64(n.fleet.Faults()))
	built, shared, refused := n.builder.Shared()
	counter("brink_representations_made_total", "Representations built here.", float64(built))
	counter("brink_representations_shared_total", "Representations fetched from other nodes.",
		float64(shared))
	counter("brink_representations_refused_total", "Representations from other nodes that were wrong.",
		float64(refused))
	counter("brink_equivocations_total", "Manifests that had the sequence of a different one.",
		float64(n.door.Equivocations()))
}
