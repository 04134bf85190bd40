package tally

// Outcome is what came of a check. Its numbers are not kept anywhere.
type Outcome uint8

// The outcomes of a check: what channel.Resolve may decide.
const (
	UpToDate Outcome = iota
	Update
	Rollback
	BuiltIn
	None
)

// What the node counts itself. Devices can send no action with a dot in it, so they cannot speak for the node.
const (
	// CheckUpToDate and those below it are checks, by what came of them.
	CheckUpToDate = "check.up_to_date"
	CheckUpdate   = "check.update"
	CheckRollback = "check.rollback"
	CheckBuiltIn  = "check.built_in"
	CheckNone     = "check.none"
	// Seen counts a device once a day, under the version that it ran when it first told one. It is a sample: about half of
	// them at 100,000 devices a day on one node, and never more than 65,536; a node that is started again counts again
	// from zero. So it compares versions, and counts no devices: for that there are the months.
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

// MaxAction is how many bytes the name of an action has at most, MaxVersion that of a version, MaxApp that of an app
// and MaxNode that of a node.
const (
	MaxAction  = 64
	MaxVersion = 128
	MaxApp     = 128
	MaxNode    = 128
)

// isAction reports whether a device may send it as an action.
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

// versionName returns the name under which a version counts: its own, "" for none, and Other for one that cannot be
// written. Some plugins send a file behind the version and a colon, which is left out.
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

// appName reports whether a text can name an app, and so be part of a key.
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

// Class is a kind of actions, for who wants a few numbers.
type Class uint8

// The classes of actions.
const (
	ClassOther    Class = iota
	ClassCheck          // a device asked whether there is something new
	ClassDecision       // a server said why a device gets nothing, as the protocol of Capgo has it
	ClassDownload       // a download began, goes on or ended
	ClassInstall        // a release was set, reset or removed
	ClassFailure        // a download, a check or an update failed
	ClassApp            // the app began, ended, crashed
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
// that the server of Capgo takes (https://capgo.app/docs/plugins/updater/api/ has most; its source has all). All others
// are of [ClassOther].
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
