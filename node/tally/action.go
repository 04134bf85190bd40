package tally

// Outcome is the outcome of a check. Its numbers are not stored anywhere.
type Outcome uint8

// The outcomes of a check: the decisions of channel.Resolve.
const (
	UpToDate Outcome = iota
	Update
	Rollback
	BuiltIn
	None
)

// The node's own actions. Devices cannot send an action with a dot, so they cannot forge these.
const (
	// CheckUpToDate and those below it are checks, by outcome.
	CheckUpToDate = "check.up_to_date"
	CheckUpdate   = "check.update"
	CheckRollback = "check.rollback"
	CheckBuiltIn  = "check.built_in"
	CheckNone     = "check.none"
	// Seen counts a device once a day, under the version that it first reported. It is a sample: about half of the devices
	// at 100,000 a day on one node, and never more than 65,536; after a restart a node counts from zero again. It is for
	// comparing versions, not for counting devices; the months do that.
	Seen = "device.seen"
)

func (o Outcome) action() string {
	switch o {
	case UpToDate:
		return CheckUpToDate
	case Update:
		return CheckUpdate
	case Rollback:
		return CheckRollback
	case BuiltIn:
		return CheckBuiltIn
	default:
		return CheckNone
	}
}

// The maximum lengths of names in bytes.
const (
	MaxAction  = 64
	MaxVersion = 128
	MaxApp     = 128
	MaxNode    = 128
)

// isAction reports whether a device may send name as an action.
func isAction(name string) bool {
	if len(name) == 0 || len(name) > MaxAction {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '_' {
			return false
		}
	}
	return true
}

// versionName returns the name as which a version counts: its own, "" for none, or Other if it is invalid. Some plugins
// append a colon and a file to the version, which it removes.
func versionName(version string) string {
	for i := range len(version) {
		switch c := version[i]; {
		case c == ':':
			version = version[:i]
			if len(version) > MaxVersion {
				return Other
			}
			return version
		case !alphanumeric(c) && c != '.' && c != '-' && c != '+' && c != '_':
			return Other
		}
	}
	if len(version) > MaxVersion {
		return Other
	}
	return version
}

// appName reports whether name is valid as the name of an app, and so as part of a key.
func appName(name string) bool {
	if len(name) == 0 || len(name) > MaxApp || !alphanumeric(name[0]) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// Class is a class of actions, for summaries.
type Class uint8

// The classes of actions.
const (
	ClassOther    Class = iota
	ClassCheck          // a device checked for updates
	ClassDecision       // the reason why a device gets no update, in the protocol of Capgo
	ClassDownload       // a download started, progressed or finished
	ClassInstall        // a release was set, reset or removed
	ClassFailure        // a download, a check or an update failed
	ClassApp            // the app started, ended or crashed
	ClassCount
)

// String returns the class as a label.
func (c Class) String() string {
	switch c {
	case ClassCheck:
		return "check"
	case ClassDecision:
		return "decision"
	case ClassDownload:
		return "download"
	case ClassInstall:
		return "install"
	case ClassFailure:
		return "failure"
	case ClassApp:
		return "app"
	default:
		return Other
	}
}

// KnownActions returns the actions that a page always has room for, with their classes: those of the node, and those
// that the server of Capgo accepts (https://capgo.app/docs/plugins/updater/api/ has most; its source has all). All
// others are of [ClassOther].
func KnownActions() map[string]Class {
	known := map[string]Class{}
	for class, actions := range map[Class][]string{
		ClassOther: {Other, "ping", "get", "setChannel", "getChannel", "os_version_changed", "native_app_version_changed"},
		ClassCheck: {CheckUpToDate, CheckUpdate, CheckRollback, CheckBuiltIn, CheckNone, Seen},
		ClassDecision: {
			"noNew", "needPlanUpgrade", "missingBundle", "disablePlatformIos", "disablePlatformAndroid",
			"disablePlatformElectron", "disableAutoUpdate", "disableAutoUpdateToMajor", "disableAutoUpdateToMinor",
			"disableAutoUpdateToPatch", "disableAutoUpdateMetadata", "disableAutoUpdateUnderNative", "disableDevBuild",
			"disableProdBuild", "disableEmulator", "disableDevice", "cannotUpdateViaPrivateChannel",
			"channelMisconfigured", "cannotGetBundle", "NoChannelOrOverride", "rateLimited", "rate_limit_reached",
			"keyMismatch", "InvalidIp", "blocked_by_server_url", "backend_refusal", "customIdBlocked",
		},
		ClassDownload: {
			"download_0", "download_10", "download_20", "download_30", "download_40", "download_50", "download_60",
			"download_70", "download_80", "download_90", "download_complete", "download_manifest_start",
			"download_manifest_complete", "download_zip_start", "download_zip_complete",
		},
		ClassInstall: {"set", "set_next", "reset", "delete", "uninstall"},
		ClassFailure: {
			"set_fail", "update_fail", "download_fail", "windows_path_fail", "canonical_path_fail",
			"directory_path_fail", "unzip_fail", "low_mem_fail", "download_manifest_file_fail",
			"download_manifest_checksum_fail", "download_manifest_brotli_fail", "finish_download_fail",
			"manifest_path_fail", "decrypt_fail", "checksum_required", "checksum_fail", "session_key_required",
			"insufficient_disk_space", "app_launch_timeout",
		},
		ClassApp: {
			"app_moved_to_foreground", "app_moved_to_background", "app_launch_start", "app_launch_ready", "app_crash",
			"app_crash_native", "app_anr", "app_killed_low_memory", "app_killed_excessive_resource_usage",
			"app_initialization_failure", "app_memory_warning", "webview_javascript_error",
			"webview_unhandled_rejection", "webview_resource_error", "webview_security_policy_violation",
			"webview_unclean_restart", "webview_render_process_gone", "webview_content_process_terminated",
			"webview_dom_content_loaded", "webview_page_loaded",
		},
	} {
		for _, action := range actions {
			known[action] = class
		}
	}
	return known
}
