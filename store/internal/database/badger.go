package database

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// The settings of both databases. They were measured with badger v4.9.6 on two cores: 5 times a live set of 170 MB in
// blobs of 16 to 128 KiB is written while random ones are deleted, 10 % of the live set at a time, with a Reclaim after
// each deletion. "disk" is the ratio of allocated blocks to live bytes at the end.
//
//	memtable 1 MiB, files 16 MiB, ratio 0.3: disk 1.17, 148 rewrites, worst put 35 ms   <- chosen
//	memtable 256 KiB:                        disk 1.15, 147 rewrites, worst put 35 ms
//	ratio 0.2:                               disk 1.10, 207 rewrites, worst put 37 ms
//	files 32 MiB:                            disk 1.19, 73 rewrites, worst put 61 ms
//	files 64 MiB, live set 870 MB:           disk 1.14, 171 rewrites, worst put 117 ms
//	780,000 blobs of 256 B to 2 KiB:         disk 1.32; with the levels below of 10 instead of 1 MiB: disk 1.25
//
// Without the forced flush of Reclaim, the ratio with a memtable of 64 KiB was 1.38 even if the oldest blobs were
// deleted, and with Badger's defaults no space was ever freed.
//
// Never reduce the size of a memtable: a log written with a larger one does not fit when it is replayed, and Badger
// terminates the process ("Arena too small").
const (
	blobsMemTable   = 1 << 20
	recordsMemTable = 8 << 20

	// discardRatio is the share of a value log file that must be garbage before it is rewritten.
	discardRatio = 0.3
)

// LogFileSize returns the size of value log files, the unit in which disk space is freed: small enough that the current
// file and files below the discard ratio are negligible compared to the quota, large enough that 1 TB needs at most
// 16,000 files.
func LogFileSize(quota int64) int64 {
	const smallest, largest = 4 << 20, 64 << 20
	return max(smallest, min(quota/16, largest))
}

func blobsOptions(dir string, quota int64) badger.Options {
	return commonOptions(dir).
		// All values go to the value log: then the tree contains only keys and pointers, its compactions are cheap, and the
		// footprint of a blob is known exactly. But the threshold must not be below 21: Badger (v4.9.6) terminates each
		// transaction in the memtable's log with an entry whose value is a decimal number; if that goes to the value log,
		// the memtable's log cannot be replayed, and everything that was not yet in a table is lost in a crash.
		WithValueThreshold(32).
		WithValueLogFileSize(LogFileSize(quota)).
		WithMemTableSize(blobsMemTable).
		// Only compaction counts garbage, so it must not be delayed: one table on level 0 triggers it.
		WithNumLevelZeroTables(1).
		WithNumLevelZeroTablesStall(8).
		// Below 10 MiB of keys, about 140,000 blobs, the tree has a single level and every tombstone meets its value.
		WithBaseLevelSize(10 << 20).
		WithBaseTableSize(2 << 20).
		WithNumMemtables(2).
		// A killed process does not lose what it wrote to a memory map; Sync and Commit sync explicitly.
		WithSyncWrites(false)
}

func recordsOptions(dir string) badger.Options {
	return commonOptions(dir).
		WithValueThreshold(1 << 20). // more than a transaction can hold, so that nothing goes to the value log
		WithValueLogFileSize(4 << 20).
		WithMemTableSize(recordsMemTable).
		WithNumMemtables(2).
		WithSyncWrites(true).
		WithChecksumVerificationMode(options.OnTableRead)
}

func commonOptions(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		// Frames are compressed already, and without compression Badger needs no block cache besides the page cache.
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithDetectConflicts(false). // the locks of package store serialize writers
		WithNumCompactors(2).
		WithMetricsEnabled(false).     // they are process-wide
		WithBypassLockGuard(true).     // the data folder has its own lock
		WithVerifyValueChecksum(false) // Badger would ignore the result; the envelope has a checksum
}

// badgerLog passes Badger's log to slog, and detects the message about a lock that is never released.
type badgerLog struct {
	log     *slog.Logger
	leaking func() // called when a read has not released a lock, see DB.poisoned
}

func (l badgerLog) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, "Invalid read") {
		l.leaking()
	}
	l.print(slog.LevelWarn, format, args)
}
func (l badgerLog) Warningf(format string, args ...any) { l.print(slog.LevelWarn, format, args) }
func (l badgerLog) Infof(format string, args ...any)    { l.print(slog.LevelDebug, format, args) }
func (l badgerLog) Debugf(string, ...any)               {}

func (l badgerLog) print(level slog.Level, format string, args []any) {
	if ctx := context.Background(); l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
