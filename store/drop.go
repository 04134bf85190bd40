package store

import (
	"context"
	"fmt"

	"brink/digest"
)

// Drop removes bundles that no channel needs, as eviction would, including their intents. Their blobs are then the
// first to be evicted. It ignores bundles that are needed, that are being ingested, or that do not exist.
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
