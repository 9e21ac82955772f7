from __future__ import annotations

from django.urls import path

from farms.api import alerts, applications, batches, enrollments, farms, production, reviews

APPLICATION = "applications/<uuid:application_id>"
REVIEW = "reviews/<uuid:review_id>"
FARM = "farms/<uuid:farm_id>"
LOCATION = "locations/<uuid:location_id>"
BATCH = "batches/<uuid:batch_id>"
ENROLLMENT = "enrollments/<uuid:enrollment_id>"
FLOCK = "flocks/<uuid:flock_id>"
DAY = "production/<uuid:production_id>"
urlpatterns = [
    path("applications/apply/", applications.Apply.as_view(), name="apply"),
    path("applications/apply/documents/", applications.OwnDocuments.as_view(), name="apply-documents"),
    path("applications/verify-phone/", applications.VerifyPhone.as_view(), name="verify-phone"),
    path("applications/", applications.Applications.as_view(), name="applications"),
    path(f"{APPLICATION}/", applications.OneApplication.as_view(), name="application"),
    path(f"{APPLICATION}/reviews/", applications.Reviews.as_view(), name="application-reviews"),
    path(f"{APPLICATION}/forward/", applications.Forward.as_view(), name="application-forward"),
    path(f"{APPLICATION}/approve/", applications.Approve.as_view(), name="application-approve"),
    path(f"{APPLICATION}/request-changes/", applications.RequestChanges.as_view(), name="application-request-changes"),
    path(f"{APPLICATION}/reject/", applications.Reject.as_view(), name="application-reject"),
    path(f"{APPLICATION}/resubmit/", applications.Resubmit.as_view(), name="application-resubmit"),
    path(f"{APPLICATION}/invite-again/", applications.InviteAgain.as_view(), name="application-invite-again"),
    path(f"{APPLICATION}/documents/", applications.Documents.as_view(), name="application-documents"),
    path("reviews/applications/", reviews.ApplicationQueue.as_view(), name="application-queue"),
    path("reviews/enrollments/", reviews.EnrollmentQueue.as_view(), name="enrollment-queue"),
    path(f"{REVIEW}/claim/", reviews.Claim.as_view(), name="review-claim"),
    path(f"{REVIEW}/start/", reviews.Start.as_view(), name="review-start"),
    path(f"{REVIEW}/release/", reviews.Release.as_view(), name="review-release"),
    path(f"{REVIEW}/notes/", reviews.Notes.as_view(), name="review-notes"),
    path("farms/", farms.Farms.as_view(), name="farms"),
    path(f"{FARM}/", farms.OneFarm.as_view(), name="farm"),
    path(f"{FARM}/activate/", farms.Activate.as_view(), name="farm-activate"),
    path(f"{FARM}/deactivate/", farms.Deactivate.as_view(), name="farm-deactivate"),
    path(f"{FARM}/suspend/", farms.Suspend.as_view(), name="farm-suspend"),
    path(f"{FARM}/reinstate/", farms.Reinstate.as_view(), name="farm-reinstate"),
    path(f"{FARM}/extension-officer/", farms.ExtensionOfficer.as_view(), name="farm-extension-officer"),
    path(f"{FARM}/assignments/", farms.Assignments.as_view(), name="farm-assignments"),
    path(f"{FARM}/assignments/<uuid:officer_id>/", farms.OneAssignment.as_view(), name="farm-assignment"),
    path(f"{FARM}/locations/", farms.Locations.as_view(), name="farm-locations"),
    path(f"{LOCATION}/", farms.OneLocation.as_view(), name="location"),
    path(f"{LOCATION}/make-primary/", farms.MakePrimary.as_view(), name="location-make-primary"),
    path(f"{LOCATION}/verify-gps/", farms.VerifyGps.as_view(), name="location-verify-gps"),
    path(f"{FARM}/infrastructure/", farms.Infrastructure.as_view(), name="farm-infrastructure"),
    path(
        f"{FARM}/infrastructure/<uuid:infrastructure_id>/",
        farms.OneInfrastructure.as_view(),
        name="farm-one-infrastructure",
    ),
    path(f"{FARM}/biosecurity/", farms.Biosecurity.as_view(), name="farm-biosecurity"),
    path(f"{FARM}/documents/", farms.Documents.as_view(), name="farm-documents"),
    path(f"{FARM}/scores/", farms.Scores.as_view(), name="farm-scores"),
    path(f"{FARM}/flocks/", production.Flocks.as_view(), name="farm-flocks"),
    path(f"{FARM}/production/", production.DaysOfFarm.as_view(), name="farm-production"),
    path(f"{FARM}/figures/", production.Figures.as_view(), name="farm-figures"),
    path("batches/", batches.Batches.as_view(), name="batches"),
    path(f"{BATCH}/", batches.OneBatch.as_view(), name="batch"),
    path(f"{BATCH}/publish/", batches.Publish.as_view(), name="batch-publish"),
    path(f"{BATCH}/pause/", batches.Pause.as_view(), name="batch-pause"),
    path(f"{BATCH}/resume/", batches.Resume.as_view(), name="batch-resume"),
    path(f"{BATCH}/close/", batches.Close.as_view(), name="batch-close"),
    path(f"{BATCH}/archive/", batches.Archive.as_view(), name="batch-archive"),
    path("enrollments/", enrollments.Enrollments.as_view(), name="enrollments"),
    path(f"{ENROLLMENT}/", enrollments.OneEnrollment.as_view(), name="enrollment"),
    path(f"{ENROLLMENT}/reviews/", enrollments.Reviews.as_view(), name="enrollment-reviews"),
    path(f"{ENROLLMENT}/submit/", enrollments.Submit.as_view(), name="enrollment-submit"),
    path(f"{ENROLLMENT}/withdraw/", enrollments.Withdraw.as_view(), name="enrollment-withdraw"),
    path(f"{ENROLLMENT}/resubmit/", enrollments.Resubmit.as_view(), name="enrollment-resubmit"),
    path(f"{ENROLLMENT}/forward/", enrollments.Forward.as_view(), name="enrollment-forward"),
    path(f"{ENROLLMENT}/approve/", enrollments.Approve.as_view(), name="enrollment-approve"),
    path(f"{ENROLLMENT}/request-changes/", enrollments.RequestChanges.as_view(), name="enrollment-request-changes"),
    path(f"{ENROLLMENT}/reject/", enrollments.Reject.as_view(), name="enrollment-reject"),
    path(f"{ENROLLMENT}/mark-enrolled/", enrollments.MarkEnrolled.as_view(), name="enrollment-mark-enrolled"),
    path(f"{FLOCK}/", production.OneFlock.as_view(), name="flock"),
    path(f"{FLOCK}/end/", production.EndFlock.as_view(), name="flock-end"),
    path(f"{FLOCK}/production/", production.DaysOfFlock.as_view(), name="flock-production"),
    path("production/upload/", production.Upload.as_view(), name="production-upload"),
    path(f"{DAY}/", production.OneDay.as_view(), name="production-day"),
    path(f"{DAY}/correct/", production.CorrectDay.as_view(), name="production-correct"),
    path("alerts/", alerts.Alerts.as_view(), name="alerts"),
    path("alerts/<uuid:alert_id>/acknowledge/", alerts.Acknowledge.as_view(), name="alert-acknowledge"),
    path("alerts/<uuid:alert_id>/close/", alerts.Close.as_view(), name="alert-close"),
    path("mortality-records/", alerts.DeathsToInspect.as_view(), name="mortality-records"),
    path("mortality-records/<uuid:record_id>/inspect/", alerts.Inspected.as_view(), name="mortality-inspect"),
]
