package store

import (
	"context"
	"fmt"

	"brink/digest"
)

// Info returns what can be said about a bundle without reading its index, and false if it is not here. It notes no use.
func (s *Store) Info(id digest.Digest) (BundleInfo, bool) {
	e := s.catalog.bundle(id)
	if e == nil {
		return BundleInfo{}, false
	}
	return infoOf(id, e), true
}

// Drop removes bundles that no channel needs, as eviction would, and with them their intents. Their blobs are then the
// first to be evicted. A bundle that is needed, that is on its way in, or that is not here, is left alone.
func (s *Store) Drop(ctx context.Context, ids ...digest.Digest) error {
	var victims []victim
	for _, id := range ids {
		if e := s.catalog.bundle(id); e != nil {
			victims = append(victims, victim{bundle: e, id: id})
		}
	}
	if _, err := s.removeRecords(ctx, victims); err != nil {
		return fmt.Errorf("drop %d bundles: %w", len(victims), err)
	}
	return nil
}
