"""The actions on sites, for pages and the API."""

from appliance.devices import sites
from appliance.devices.sites import Site, TenantSite
from appliance.web.page.collection import Collection
from appliance.web.page.paths import site_of_path
from appliance.web.platform import Platform

SiteCollection = Collection[Site, TenantSite]


def site_collection(platform: Platform) -> SiteCollection:
    """Return the collection of sites."""
    return Collection(platform, sites, id_of_path=site_of_path, id_of=lambda kept: kept.site.site_id)
