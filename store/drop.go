package store

import (
	"context"
	"fmt"

	"brink/digest"
)

// Drop removes bundles that no channel needs, as eviction would, and with them their intents. Their blobs are then the
// first to be evicted. A bundle that is needed, that is on its way in, or that is not here, is left alone.
func (s *Store) Drop(ctx context.Context, ids ...digest.Digest) error {
	var victims []victim
	for _, id := range ids {
		if e := s.bundles.catalog.get(id); e != nil {
			victims = append(victims, victim{bundle: e, id: id})
		}
	}
	if _, err := s.evictor.removeRecords(ctx, victims); err != nil {
		return fmt.Errorf("drop %d bundles: %w", len(victims), err)
	}
	return nil
}
